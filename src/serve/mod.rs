//! The whole stack in one process: API, a worker for each app, and the store in memory unless Redis is named.

mod app;
mod fleet_file;
mod workers;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use glimpse_api::{Config as ApiConfig, Entrance, Listening};
use glimpse_shared::{
    id::App,
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
    telemetry::{LogConfig, TraceConfig},
};
use glimpse_worker::runner::{Ended, Worker};
use tokio::{
    sync::{oneshot, watch},
    task::JoinError,
};

use self::{
    app::Given,
    workers::{Common, OpenedApp, ServedApp, until},
};
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
    /// A TOML file with an `[[app]]` for each app that this process serves: its `name`, its `model`, and the other flags
    /// of a worker with `_` for `-`. Flags on the command line are the defaults of all apps. [default: one app]
    #[arg(long, env = "GLIMPSE_FLEET", value_name = "FILE", conflicts_with_all = ["app", "model"])]
    fleet: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    results: ResultsConfig,
    #[command(flatten)]
    pub log: LogConfig,
    #[command(flatten)]
    pub traces: TraceConfig,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Serves until a signal ends it. 0: ended by a signal, 1: a worker's device failed, 2: wrong flags or model.
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
    let (listening, store, workers, check) = started?;
    let urls = listening.urls()?;
    let (stop, stopped) = watch::channel(false);
    let (ready, is_ready) = oneshot::channel();
    let workers = workers::run(workers, ready, stop.clone());
    let workers = once_checked(check, until(stopped.clone()), workers);
    let api = glimpse_api::serve(listening, store.clone(), args.api, until(stopped));
    let reaping = tokio::spawn(reaper::run(store, reaper::API_PERIOD));
    let announce = async move {
        if is_ready.await.is_ok() {
            announce(&urls);
            supervisor::ready();
        }
        std::future::pending::<()>().await;
    };

    let mut workers = tokio::spawn(workers);
    let mut api = tokio::spawn(api);
    let announcing = tokio::spawn(announce);
    let ended = tokio::select! {
        _ = shutdown.requested() => None,
        ended = &mut workers => Some(ended??),
        served = &mut api => {
            served??;
            None
        }
    };
    supervisor::stopping();
    stop.send_replace(true);
    let ended = match ended {
        Some(ended) => ended,
        None => workers.await??,
    };
    if !api.is_finished() {
        api.await??;
    }
    announcing.abort();
    reaping.abort();
    Ok(ended)
}

/// The apps that the process serves: those of the fleet file, or one.
fn apps(args: &Args) -> Result<Vec<ServedApp>, Error> {
    if let Some(file) = &args.fleet {
        return Ok(fleet_file::read(file, &args.given)?);
    }
    let flags = args.given.flags.clone();
    let model = model::or_demo(flags.model.model.clone())?;
    let name: App = flags.fleet.app.clone().map_or_else(|| DEMO_APP.parse(), Ok)?;
    Ok(vec![ServedApp { name, model, flags, is_of_fleet: false }])
}

/// What `start` has opened and loaded.
type Started = (Listening, SharedStore, Vec<Worker>, Option<Check>);

/// Opens the certificate, the keys, the port and the place of the results, checks Redis and loads the models.
async fn start(args: &mut Args) -> Result<Started, Error> {
    let entrance = Entrance::prepare(&args.api).await?;
    let apps = apps(args)?;
    let metrics = Metrics::new(Role::Serve);
    apps.iter().for_each(|app| metrics.jobs.know(&app.name));
    args.api.metrics = Some(metrics.clone());
    let (rules, prefix) = (args.api.rules(), &args.redis.redis_prefix);
    let redis = args.redis.redis_url.as_ref();
    let redis = redis
        .map(|url| RedisStore::measured(url, prefix, rules.clone(), Clock::Store, metrics.clone()))
        .transpose()?;
    // Before the models are loaded: a port in use is reported at once.
    let listening = entrance.bind().await?;
    glimpse_api::raise_connection_limit();
    args.api.results = args.results.open().await?;
    let mut opened: Vec<OpenedApp> = Vec::with_capacity(apps.len());
    for app in apps {
        opened.push(app.open().await?);
    }
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
    let common = Common { store: store.clone(), results: args.api.results.clone(), work: metrics.work };
    let workers = tokio::select! {
        loaded = workers::load(opened, common) => loaded?,
        unfit = failed(&mut check) => return Err(unfit.into()),
    };
    Ok((listening, store, workers, check))
}

/// Waits for a permanent fault of Redis; without Redis, forever.
async fn failed(check: &mut Option<Check>) -> ConfigError {
    match check {
        Some(check) => check.failed().await,
        None => std::future::pending().await,
    }
}

/// Lets the workers start once Redis has been checked, if it is used. Nothing is written to it before.
async fn once_checked(
    check: Option<Check>,
    stopped: impl Future<Output = ()>,
    workers: impl Future<Output = Result<Ended, JoinError>>,
) -> Result<Ended, Error> {
    if let Some(mut check) = check {
        tokio::select! {
            passed = check.passed() => passed?,
            () = stopped => return Ok(Ended::Drained),
        }
    }
    Ok(workers.await?)
}

/// Prints the one line on standard output, for scripts that wait for it.
fn announce(urls: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // It is no error if nobody reads it.
    let _ = writeln!(out, "listening on {urls}").and_then(|()| out.flush());
}
