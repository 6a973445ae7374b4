//! The whole stack in one process: API, one worker, and the store in memory unless Redis is named.

use std::{process::ExitCode, sync::Arc};

use glimpse_api::{Config as ApiConfig, Entrance, Listening};
use glimpse_shared::{
    id::{App, WorkerId},
    metrics::{Metrics, Role},
    reaper,
    results::ResultsConfig,
    shutdown::{self, Shutdown},
    store::{
        Clock, SharedStore,
        memory::MemoryStore,
        redis::{Check, ConfigError, Process, RedisConfig, RedisStore},
    },
    supervisor,
    telemetry::LogConfig,
};
use glimpse_worker::{
    config::{FleetConfig, ModelConfig},
    recipes::{MetadataConfig, Recipes},
    runner::{Ended, Worker},
    starting,
};
use tokio::sync::{oneshot, watch};

use crate::model;

/// The default app.
const DEMO_APP: &str = "glimpse/demo";

/// Flags of `glimpse serve`: those of the API and of a worker together.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    api: ApiConfig,
    #[command(flatten)]
    redis: RedisConfig,
    #[command(flatten)]
    model: ModelConfig,
    #[command(flatten)]
    fleet: FleetConfig,
    #[command(flatten)]
    results: ResultsConfig,
    #[command(flatten)]
    metadata: MetadataConfig,
    #[command(flatten)]
    pub log: LogConfig,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Serves until a signal ends it. 0: ended by a signal, 1: the worker's device failed, 2: wrong flags or model.
pub async fn run(args: Args, shutdown: &Shutdown) -> ExitCode {
    match serve(args, shutdown).await {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::DeviceFault) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("glimpse: {error}");
            ExitCode::from(2)
        }
    }
}

async fn serve(mut args: Args, shutdown: &Shutdown) -> Result<Ended, Error> {
    let Some(started) = shutdown.unless_requested(start(&mut args)).await else {
        // No request has been accepted yet.
        shutdown::leave(0);
    };
    let (listening, worker, check) = started?;
    let urls = listening.urls()?;
    let store = worker.store.clone();
    let (stop, stopped) = watch::channel(false);
    let (ready, is_ready) = oneshot::channel();
    let worker = worker.run(
        move || {
            let _ = ready.send(());
        },
        until(stopped.clone()),
    );
    let worker = once_checked(check, until(stopped.clone()), worker);
    let api = glimpse_api::serve(listening, store.clone(), args.api, until(stopped));
    let reaping = tokio::spawn(reaper::run(store, reaper::API_PERIOD));
    let announce = async move {
        if is_ready.await.is_ok() {
            announce(&urls);
            supervisor::ready();
        }
        std::future::pending::<()>().await;
    };

    let mut worker = tokio::spawn(worker);
    let mut api = tokio::spawn(api);
    let announcing = tokio::spawn(announce);
    let ended = tokio::select! {
        _ = shutdown.requested() => None,
        ended = &mut worker => Some(ended??),
        served = &mut api => {
            served??;
            None
        }
    };
    supervisor::stopping();
    stop.send_replace(true);
    let ended = match ended {
        Some(ended) => ended,
        None => worker.await??,
    };
    if !api.is_finished() {
        api.await??;
    }
    announcing.abort();
    reaping.abort();
    Ok(ended)
}

/// Opens the certificate, the keys, the port and the place of the results, checks Redis and loads the model.
async fn start(args: &mut Args) -> Result<(Listening, Worker, Option<Check>), Error> {
    let entrance = Entrance::prepare(&args.api).await?;
    let model = model::or_demo(args.model.model.clone())?;
    let app: App = args.fleet.app.clone().map_or_else(|| DEMO_APP.parse(), Ok)?;
    let metrics = Metrics::new(Role::Serve);
    metrics.jobs.know(&app);
    args.api.metrics = Some(metrics.clone());
    let (rules, prefix) = (args.api.rules(), &args.redis.redis_prefix);
    let redis = args.redis.redis_url.as_ref();
    let redis = redis
        .map(|url| RedisStore::measured(url, prefix, rules.clone(), Clock::Store, metrics.clone()))
        .transpose()?;
    // Before the model is loaded: a port in use is reported at once.
    let listening = entrance.bind().await?;
    glimpse_api::raise_connection_limit();
    let (loras, controlnets) = (args.model.loras()?, args.model.controlnets()?);
    args.api.results = args.results.open().await?;
    let opened = starting::open(args.model.clone(), model.clone()).await?;
    let (store, mut check): (SharedStore, _) = match redis {
        Some(redis) => {
            let check = redis.check(Process::Both).await?;
            (Arc::new(redis), Some(check))
        }
        None => {
            let memory = MemoryStore::new(rules, Clock::Store).counting(metrics.jobs.clone());
            (Arc::new(memory), None)
        }
    };
    let (engine, offers) = tokio::select! {
        loaded = opened.load() => loaded?,
        unfit = failed(&mut check) => return Err(unfit.into()),
    };
    let recipes = Recipes::new(Some(app.clone()), &model, offers.identity.clone(), &args.metadata);
    let worker = Worker {
        store,
        app,
        id: WorkerId::new("local"),
        engine,
        offers,
        loras,
        controlnets,
        results: args.api.results.clone(),
        recipes: Some(Arc::new(recipes)),
        checkpoint_every: args.fleet.checkpoint_every,
        drain_grace: args.fleet.drain_grace(),
        work: metrics.work,
    };
    Ok((listening, worker, check))
}

/// Waits for a permanent fault of Redis; without Redis, forever.
async fn failed(check: &mut Option<Check>) -> ConfigError {
    match check {
        Some(check) => check.failed().await,
        None => std::future::pending().await,
    }
}

/// Lets the worker start once Redis has been checked, if it is used. Nothing is written to it before.
async fn once_checked(
    check: Option<Check>,
    stopped: impl Future<Output = ()>,
    worker: impl Future<Output = Ended>,
) -> Result<Ended, ConfigError> {
    if let Some(mut check) = check {
        tokio::select! {
            passed = check.passed() => passed?,
            () = stopped => return Ok(Ended::Drained),
        }
    }
    Ok(worker.await)
}

/// Prints the one line on standard output, for scripts that wait for it.
fn announce(urls: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // It is no error if nobody reads it.
    let _ = writeln!(out, "listening on {urls}").and_then(|()| out.flush());
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone: also the end.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
