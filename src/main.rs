//! `glimpse`: the whole stack in one process (`serve`, the default), its command-line clients (`generate`, `watch`,
//! `workers`, `jobs`, `cancel`), keys for clients (`key`), and the check and the measurement of a device (`doctor`, `measure`).

mod completions;
mod doctor;
mod fleet;
mod generate;
mod inline;
mod key;
mod man;
mod measure;
mod model;
mod serve;
#[cfg(test)]
mod settings;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use glimpse_shared::{
    environment,
    shutdown::{self, Shutdown},
    telemetry::Telemetry,
};

/// Makes pictures from text prompts, with previews while they form.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the API and one worker in this process (the default).
    Serve(Box<serve::Args>),
    /// Makes pictures: on a server, or in this process if none is named.
    Generate(Box<generate::Args>),
    /// Joins a job of a server: shows it until it ends, and writes its pictures.
    Watch(watch::Args),
    /// Lists the live workers of a server.
    Workers(fleet::Workers),
    /// Lists the newest jobs of a server.
    Jobs(fleet::Jobs),
    /// Cancels a job on a server.
    Cancel(fleet::Cancel),
    /// Checks the device and the disk, and what flags name: a model, a Redis, an address. Says what to do if one fails.
    Doctor(doctor::Args),
    /// Makes a key for a client of the API: prints it once, and its entry for --keys-file.
    Key(key::Args),
    /// Prints the script that lets a shell complete commands and flags.
    Completions(completions::Args),
    /// Prints a manual page, or writes all of them into a folder.
    Man(man::Args),
    /// Measures a part of a job on one device, with random weights; `scripts/gpu-check` measures all parts.
    Measure(Box<measure::Args>),
}

fn main() -> ExitCode {
    environment::forget_empty();
    let shutdown = match Shutdown::listen() {
        Ok(shutdown) => shutdown,
        Err(error) => return cannot(&format!("handle signals: {error}")),
    };
    let cli = Cli::parse();
    // Without a provider the first TLS connection would panic. An error means that one is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let command = cli.command.unwrap_or_else(|| Command::Serve(Box::new(cli.serve)));
    let telemetry = match &command {
        Command::Serve(args) => Telemetry::start(&args.log, &args.traces, "glimpse").map(Some),
        _ => Ok(None),
    };
    let telemetry = match telemetry {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("glimpse: {error}");
            return ExitCode::from(2);
        }
    };
    let done = shutdown::block_on(async {
        match command {
            Command::Serve(args) => serve::run(*args, &shutdown).await,
            Command::Generate(args) => generate::run(*args, &shutdown).await,
            Command::Workers(args) => fleet::run(fleet::Ask::Workers(args), &shutdown).await,
            Command::Jobs(args) => fleet::run(fleet::Ask::Jobs(args), &shutdown).await,
            Command::Cancel(args) => fleet::run(fleet::Ask::Cancel(args), &shutdown).await,
            Command::Watch(args) => watch::run(args, &shutdown).await,
            Command::Completions(args) => completions::run(&args, Cli::command()),
            Command::Man(args) => man::run(args, Cli::command()),
            Command::Doctor(args) => doctor::run(args, &shutdown).await,
            Command::Key(args) => key::run(args),
            Command::Measure(args) => measure::run(*args, &shutdown).await,
        }
    });
    if let Some(telemetry) = telemetry {
        telemetry.end();
    }
    done.unwrap_or_else(|error| cannot(&format!("start threads: {error}")))
}

fn cannot(what: &str) -> ExitCode {
    eprintln!("glimpse: cannot {what}");
    ExitCode::FAILURE
}
