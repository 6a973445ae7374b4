//! `glimpse doctor`: checks what a process would use, and says what to do about what is wrong.

mod check;
mod device;
mod keys;
mod model;
mod op_table;
mod place;
mod server;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Parser;
use glimpse_shared::{
    shutdown::{self, Shutdown},
    store::redis::RedisConfig,
    telemetry::{self, LogConfig, LogFormat},
};
use glimpse_worker::pipeline::DeviceName;
use serde_json::{Value, json};

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
    /// A model, whose files are checked for being whole: a folder in the diffusers layout, or a single file.
    #[arg(long, env = "GLIMPSE_MODEL", value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    redis: RedisConfig,
    /// An address to listen on, which is checked for being free.
    #[arg(long, env = "GLIMPSE_LISTEN", value_name = "ADDR")]
    listen: Option<String>,
    /// A file of keys for the API.
    #[arg(long, env = "GLIMPSE_KEYS_FILE", value_name = "FILE")]
    keys_file: Option<PathBuf>,
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
    let (examined, others) = tokio::select! {
        checked = check_all(&args) => checked,
        signal = shutdown.requested() => shutdown::leave(signal.exit_code()),
    };
    let text = match args.json {
        true => format!("{}\n", object(&examined, &others)),
        false => others.iter().fold(examined.text(), |text, check| format!("{text}{check}\n")),
    };
    let mut out = std::io::stdout().lock();
    // It is no error if nobody reads it.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match others.iter().chain([&examined.check]).all(Check::is_ok) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The device with its table, and then the other checks in the order of their lines: the disk, and what a flag names.
async fn check_all(args: &Args) -> (Examined, Vec<Check>) {
    let (device, small) = (args.device.clone(), args.small);
    // On a thread of its own, as in a worker: a device belongs to the thread that opened it.
    let examining = tokio::task::spawn_blocking(move || device::examine(&device, small));
    let mut others = vec![place::disk()];
    if let Some(model) = args.model.clone() {
        let named = model.display().to_string();
        let checked = tokio::task::spawn_blocking(move || model::check(&model)).await;
        others.extend(checked.unwrap_or_else(|error| vec![Check::died(format!("model {named}"), &error)]));
    }
    if let Some(url) = &args.redis.redis_url {
        others.push(server::check(url, &args.redis).await);
    }
    if let Some(address) = &args.listen {
        others.push(place::listen(address).await);
    }
    others.extend(args.keys_file.as_deref().map(keys::check));
    let examined = examining.await.unwrap_or_else(|error| Examined::died(&args.device, &error));
    (examined, others)
}

/// One object: that of the device, and `checks` with the others.
fn object(examined: &Examined, others: &[Check]) -> Value {
    let mut object = examined.json();
    object["checks"] = json!(others.iter().map(Check::json).collect::<Vec<_>>());
    object
}
