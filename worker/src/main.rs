//! `glimpse-worker`: claims jobs from a fleet's Redis and makes their pictures.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use clap::{CommandFactory, Parser, error::ErrorKind};
use glimpse_shared::{
    environment,
    id::WorkerId,
    reaper,
    store::{
        Clock, Rules, SharedStore,
        redis::{Check, Process, RedisConfig, RedisStore},
    },
    telemetry::{self, LogConfig},
};
use glimpse_worker::{
    config::{FleetConfig, ModelConfig},
    engine::Engine,
    health,
    pipeline::Description,
    runner::{Ended, Worker},
    signal,
    starting::{self, Opened},
};
use tokio::{net::TcpListener, sync::watch};

/// Claims jobs from a fleet's Redis and makes their pictures.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    redis: RedisConfig,
    #[command(flatten)]
    model: ModelConfig,
    #[command(flatten)]
    fleet: FleetConfig,
    /// Where to serve `/health/live` and `/health/ready`. [default: nowhere]
    #[arg(long, env = "GLIMPSE_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    log: LogConfig,
}

#[tokio::main]
async fn main() -> ExitCode {
    environment::forget_empty();
    let cli = Cli::parse();
    telemetry::init(&cli.log);
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was there before");
    }
    match run(cli).await {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::DeviceFault) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(2)
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn run(cli: Cli) -> Result<Ended, Error> {
    let missing = |flag: &str| -> ! {
        Cli::command().error(ErrorKind::MissingRequiredArgument, format!("{flag} is required")).exit()
    };
    let url = cli.redis.redis_url.as_ref().unwrap_or_else(|| missing("--redis-url"));
    let model = cli.model.model.clone().unwrap_or_else(|| missing("--model"));
    let loras = cli.model.loras()?;
    let app = cli.fleet.app.clone().unwrap_or_else(|| missing("--app"));

    let (ready, is_ready) = watch::channel(false);
    if let Some(address) = cli.listen {
        let listener = TcpListener::bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, "serving health");
        tokio::spawn(async move {
            if let Err(error) = health::serve(listener, is_ready).await {
                tracing::error!(%error, "health is no longer served");
            }
        });
    }
    let mut drain = Box::pin(signal::stop());
    let store = Arc::new(RedisStore::connect(url, &cli.redis.redis_prefix, Rules::default(), Clock::Store)?);
    let opened = starting::open(cli.model.clone(), model).await?;
    let check = store.check(Process::Worker).await?;
    let store: SharedStore = store;
    let (engine, offers) = tokio::select! {
        () = &mut drain => return Ok(Ended::Drained),
        loaded = load(opened, check) => loaded?,
    };
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let worker = Worker {
        store: store.clone(),
        app,
        id: WorkerId::new(&host),
        engine,
        offers,
        loras,
        checkpoint_every: cli.fleet.checkpoint_every,
        drain_grace: cli.fleet.drain_grace(),
    };
    let reaping = tokio::spawn(reaper::run(store, reaper::WORKER_PERIOD));
    let stopping = ready.clone();
    let drain = async move {
        drain.await;
        stopping.send_replace(false);
    };
    let ended = worker
        .run(
            || {
                ready.send_replace(true);
            },
            drain,
        )
        .await;
    reaping.abort();
    Ok(ended)
}

/// Loads the model and waits until Redis has been checked: nothing is written there before.
async fn load(opened: Opened, mut check: Check) -> Result<(Engine, Description), Error> {
    let loaded = tokio::select! {
        loaded = opened.load() => loaded?,
        unfit = check.failed() => return Err(unfit.into()),
    };
    check.passed().await?;
    Ok(loaded)
}
