//! `glimpse doctor`: checks the device, and says what to do about what is wrong.

mod check;
mod device;
mod op_table;

use std::{io::Write, process::ExitCode};

use clap::Parser;
use glimpse_shared::{
    shutdown::{self, Shutdown},
    telemetry::{self, LogConfig, LogFormat},
};
use glimpse_worker::pipeline::DeviceName;

use check::Check;
use device::Examined;

/// Flags of `glimpse doctor`.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit codes: 0 all is well, 1 a check failed, 2 wrong flags, 130 Ctrl-C, 143 SIGTERM."
)]
pub struct Args {
    /// The device to check: `auto`, `cpu`, `cuda:N` or `metal:N`. Each operation of the models is compared with its
    /// portable form.
    #[arg(long, env = "GLIMPSE_DEVICE", default_value = "auto", value_parser = device_name)]
    device: String,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Compares at small shapes instead of SDXL's. On a CPU it always does.
    #[arg(long)]
    small: bool,
    /// What to log on standard error: a level, or `target=level,…` as in tracing's EnvFilter.
    #[arg(long, env = "GLIMPSE_LOG", default_value = "warn", value_parser = telemetry::filter)]
    log: String,
}

fn device_name(text: &str) -> Result<String, String> {
    text.parse::<DeviceName>().map_err(device::reason)?;
    Ok(text.to_owned())
}

/// Runs the checks. 0: all is well, 1: a check failed, 130: Ctrl-C, 143: SIGTERM.
pub async fn run(args: Args, shutdown: &Shutdown) -> ExitCode {
    telemetry::init(&LogConfig { log_format: LogFormat::Text, log: args.log.clone() });
    let (device, small) = (args.device.clone(), args.small);
    // On a thread of its own, as in a worker: a device belongs to the thread that opened it.
    let examining = tokio::task::spawn_blocking(move || device::examine(&device, small));
    let examined = tokio::select! {
        examined = examining => examined.unwrap_or_else(|error| Examined::died(&args.device, &error)),
        signal = shutdown.requested() => shutdown::leave(signal.exit_code()),
    };
    let text = if args.json { format!("{}\n", examined.json()) } else { examined.text() };
    let mut out = std::io::stdout().lock();
    // It is no error if nobody reads it.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match examined.check {
        Check::Ok { .. } => ExitCode::SUCCESS,
        Check::Fail { .. } => ExitCode::FAILURE,
    }
}
