//! `glimpse-api`: the API as a process of its own, over the Redis that a fleet shares.

use std::{io::Write, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use glimpse_api::{Config, raise_connection_limit, serve};
use glimpse_shared::{
    environment, reaper,
    store::{
        Clock, SharedStore,
        redis::{ConfigError, Process, RedisConfig, RedisStore},
    },
    telemetry::{self, LogConfig},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// How often this process looks for jobs that are overdue.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// The HTTP side of a Glimpse fleet. Stateless: run as many as you like over one Redis.
#[derive(Parser)]
#[command(name = "glimpse-api", version)]
struct Flags {
    #[command(flatten)]
    api: Config,
    #[command(flatten)]
    redis: RedisConfig,
    #[command(flatten)]
    log: LogConfig,
}

/// Why the process cannot serve.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The operator asked for what cannot be.
    #[error("{0}")]
    Flags(String),
    /// The machine does not let it.
    #[error("{0}: {1}")]
    System(String, std::io::Error),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Flags(error.to_string())
    }
}

fn main() -> ExitCode {
    // Before anything speaks TLS: without a provider of its own choice, rustls panics at the first connection.
    // An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    environment::forget_empty();
    let flags = Flags::parse();
    telemetry::init(&flags.log);
    match start(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::from(match failure {
                Failure::Flags(_) => 2,
                Failure::System(..) => 1,
            })
        }
    }
}

fn start(flags: Flags) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::System("no threads to run on".to_owned(), error))?;
    let ended = runtime.block_on(run(flags));
    // All that matters has been waited for; a look-up of a name that hangs does not.
    runtime.shutdown_background();
    ended
}

async fn run(flags: Flags) -> Result<(), Failure> {
    let system = |what: &str| {
        let what = what.to_owned();
        |error| Failure::System(what, error)
    };
    let store = open_store(&flags)?;
    let mut check = store.check(Process::Api).await?;
    let store: SharedStore = store;
    raise_connection_limit();
    // Before the line that says so: whoever reads it may send a signal.
    let mut terminate = signal(SignalKind::terminate()).map_err(system("signals cannot be handled"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("signals cannot be handled"))?;
    let listener = TcpListener::bind(&flags.api.listen)
        .await
        .map_err(system(&format!("cannot listen on {}", flags.api.listen)))?;
    let address = listener.local_addr().map_err(system("the listener has no address"))?;
    tracing::info!(config = ?flags.api, "serving");
    let said = writeln!(std::io::stdout(), "listening on http://{address}");
    said.map_err(system("cannot write to standard output"))?;

    let reaper = tokio::spawn(reaper::run(store.clone(), REAP_EVERY));
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
    };
    let served = tokio::select! {
        served = serve(listener, store, flags.api, shutdown) => served,
        unfit = check.failed() => return Err(unfit.into()),
    };
    reaper.abort();
    served.map_err(system("serving ended"))
}

/// The store that this process shares with the fleet.
fn open_store(flags: &Flags) -> Result<Arc<RedisStore>, Failure> {
    let RedisConfig { redis_url, redis_prefix } = &flags.redis;
    let url = redis_url.as_ref().ok_or_else(|| {
        Failure::Flags("--redis-url is required: the API finds its workers through Redis".to_owned())
    })?;
    Ok(Arc::new(RedisStore::connect(url, redis_prefix, flags.api.rules(), Clock::Store)?))
}
