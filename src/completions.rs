//! `glimpse completions`: what a shell needs to complete the commands and flags.

use std::{io::Write, process::ExitCode};

use clap::{Command, ValueEnum};
use clap_complete::{
    Generator,
    shells::{Bash, Fish, Zsh},
};

/// Flags of `glimpse completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell that the script is for.
    shell: Shell,
}

/// The shells that there are scripts for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script for a shell.
pub fn run(args: &Args, mut command: Command) -> ExitCode {
    let text = match args.shell {
        Shell::Bash => script(Bash, &mut command),
        Shell::Zsh => script(Zsh, &mut command),
        Shell::Fish => script(Fish, &mut command),
    };
    let mut out = std::io::stdout().lock();
    // It is no error if nobody reads it.
    let _ = out.write_all(&text).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

fn script(shell: impl Generator, command: &mut Command) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, "glimpse", &mut text);
    text
}
