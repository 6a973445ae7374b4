//! `glimpse-worker`: claims jobs from a fleet's Redis and makes their pictures.

use std::{io::Write, process::ExitCode, sync::Arc};

use clap::{CommandFactory, Parser, error::ErrorKind};
use glimpse_shared::{
    environment,
    id::WorkerId,
    metrics::{Metrics, Role},
    reaper,
    shutdown::{self, Shutdown},
    store::{
        Clock, Rules, SharedStore,
        redis::{Check, Process, RedisStore},
    },
    supervisor,
    telemetry::Telemetry,
};
use glimpse_worker::{
    cli::Cli,
    engine::Engine,
    health,
    pipeline::Description,
    recipes::Recipes,
    runner::{Ended, Worker},
    starting::{self, Opened},
};
use tokio::{net::TcpListener, sync::watch};

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    environment::forget_empty();
    let ended = Shutdown::listen().map_err(Error::from).and_then(|shutdown| {
        let cli = Cli::parse();
        // An error means that a TLS provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let telemetry = Telemetry::start(&cli.log, &cli.traces, "glimpse-worker")?;
        let ended = shutdown::block_on(run(cli, &shutdown));
        telemetry.end();
        ended?
    });
    match ended {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::DeviceFault) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn run(cli: Cli, shutdown: &Shutdown) -> Result<Ended, Error> {
    let (ready, is_ready) = watch::channel(false);
    let Some(worker) = shutdown.unless_requested(start(&cli, is_ready)).await else {
        tracing::info!("a signal ended the process before the worker was ready");
        shutdown::leave(0);
    };
    let worker = worker?;
    let reaping = tokio::spawn(reaper::run(worker.store.clone(), reaper::WORKER_PERIOD));
    let stopping = drain(shutdown.clone(), ready.clone());
    let ended = worker
        .run(
            || {
                ready.send_replace(true);
                supervisor::ready();
            },
            stopping,
        )
        .await;
    reaping.abort();
    Ok(ended)
}

/// Loads the model and everything else that a worker needs.
async fn start(cli: &Cli, is_ready: watch::Receiver<bool>) -> Result<Worker, Error> {
    let missing = |flag: &str| -> ! {
        Cli::command().error(ErrorKind::MissingRequiredArgument, format!("{flag} is required")).exit()
    };
    let url = cli.redis.redis_url.as_ref().unwrap_or_else(|| missing("--redis-url"));
    let model = cli.model.model.clone().unwrap_or_else(|| missing("--model"));
    let (loras, controlnets) = (cli.model.loras()?, cli.model.controlnets()?);
    let app = cli.fleet.app.clone().unwrap_or_else(|| missing("--app"));
    let results = cli.results.open().await?;

    let metrics = Metrics::new(Role::Worker);
    metrics.jobs.know(&app);
    let (rules, prefix) = (Rules::default(), &cli.redis.redis_prefix);
    let store = Arc::new(RedisStore::measured(url, prefix, rules, Clock::Store, metrics.clone())?);
    if let Some(address) = cli.listen {
        let store: SharedStore = store.clone();
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        tracing::info!(%address, "serving health and metrics");
        // It is no error if nobody reads it.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
        drop(out);
        let metrics = metrics.clone();
        tokio::spawn(async move {
            if let Err(error) = health::serve(listener, is_ready, store, metrics).await {
                tracing::error!(%error, "the health endpoints failed and are not served any more");
            }
        });
    }
    let opened = starting::open(cli.model.clone(), model.clone()).await?;
    let check = store.check(Process::Worker).await?;
    let store: SharedStore = store;
    let (engine, offers) = load(opened, check).await?;
    let recipes = Recipes::new(Some(app.clone()), &model, offers.identity.clone(), &cli.metadata);
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    Ok(Worker {
        store,
        app,
        id: WorkerId::new(&host),
        engine,
        offers,
        loras,
        controlnets,
        results,
        recipes: Some(Arc::new(recipes)),
        hook: cli.hook.open(),
        checkpoint_every: cli.fleet.checkpoint_every,
        drain_grace: cli.fleet.drain_grace(),
        work: metrics.work,
    })
}

/// Waits for a signal that asks the worker to end, then marks it as not ready.
async fn drain(shutdown: Shutdown, ready: watch::Sender<bool>) {
    shutdown.requested().await;
    supervisor::stopping();
    ready.send_replace(false);
}

/// Loads the model, then waits until Redis is checked. Nothing is written to Redis before that.
async fn load(opened: Opened, mut check: Check) -> Result<(Engine, Description), Error> {
    let loaded = tokio::select! {
        loaded = opened.load() => loaded?,
        unfit = check.failed() => return Err(unfit.into()),
    };
    check.passed().await?;
    Ok(loaded)
}
