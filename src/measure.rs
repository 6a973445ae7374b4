//! `glimpse measure`: measures a part of a job on one device and prints the result as JSON.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use glimpse_shared::{
    shutdown::{self, Shutdown},
    telemetry::{self, LogConfig, LogFormat},
};
use glimpse_worker::measure::{MeasureError, Part};

/// Flags of `glimpse measure`.
#[derive(Debug, Parser)]
#[command(
    after_help = "Prints one JSON object. Exit codes: 0 measured, 1 the measurement failed, 2 wrong argument or the \
                        device is not available here."
)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

/// Measures. 0: done, 1: failed, 2: the device is not available, 130: Ctrl-C, 143: SIGTERM.
pub async fn run(args: Args, shutdown: &Shutdown) -> ExitCode {
    telemetry::init(&LogConfig { log_format: LogFormat::Text, log: "warn".to_owned() });
    let measured = tokio::task::spawn_blocking(move || args.part.run());
    let measured = tokio::select! {
        measured = measured => measured,
        signal = shutdown.requested() => shutdown::leave(signal.exit_code()),
    };
    let printed = match measured {
        Ok(Ok(result)) => writeln!(std::io::stdout(), "{result}").map_err(|error| error.to_string()),
        Ok(Err(error @ MeasureError::Device(_))) => {
            eprintln!("glimpse: {error}");
            return ExitCode::from(2);
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("glimpse: {error}");
            ExitCode::FAILURE
        }
    }
}
