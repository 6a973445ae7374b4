//! `glimpse-api`: the API as a separate process, with the Redis that a fleet shares.

use std::{io::Write, process::ExitCode, sync::Arc};

use clap::{CommandFactory, Parser, error::ErrorKind};
use glimpse_api::{Entrance, EntranceError, Flags, Listening, raise_connection_limit, serve};
use glimpse_shared::{
    environment,
    metrics::{Metrics, Role},
    reaper,
    results::ResultsError,
    shutdown::{self, Shutdown},
    store::{
        Clock, SharedStore,
        redis::{Check, ConfigError, Process, RedisConfig, RedisStore},
    },
    supervisor,
    telemetry::{Telemetry, TraceError},
};

/// Why the process cannot serve.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// The flags cannot be used.
    #[error("{0}")]
    Flags(String),
    /// The system refused something.
    #[error("{0}: {1}")]
    System(String, std::io::Error),
}

impl From<ConfigError> for ServeError {
    fn from(error: ConfigError) -> Self {
        Self::Flags(error.to_string())
    }
}

impl From<EntranceError> for ServeError {
    fn from(error: EntranceError) -> Self {
        Self::Flags(error.to_string())
    }
}

impl From<TraceError> for ServeError {
    fn from(error: TraceError) -> Self {
        Self::Flags(error.to_string())
    }
}

impl From<ResultsError> for ServeError {
    fn from(error: ResultsError) -> Self {
        Self::Flags(error.to_string())
    }
}

fn main() -> ExitCode {
    environment::forget_empty();
    let ended = Shutdown::listen().map_err(system("cannot handle signals")).and_then(|shutdown| {
        // rustls needs a provider before the first TLS connection. An error means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let flags = Flags::parse();
        let telemetry = Telemetry::start(&flags.log, &flags.traces, "glimpse-api")?;
        let ended = shutdown::block_on(run(flags, &shutdown));
        telemetry.end();
        ended.map_err(system("cannot start the threads of the runtime"))?
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::from(match failure {
                ServeError::Flags(_) => 2,
                ServeError::System(..) => 1,
            })
        }
    }
}

fn system(what: &str) -> impl FnOnce(std::io::Error) -> ServeError {
    let what = what.to_owned();
    |error| ServeError::System(what, error)
}

async fn run(mut flags: Flags, shutdown: &Shutdown) -> Result<(), ServeError> {
    let Some(started) = shutdown.unless_requested(start(&mut flags)).await else {
        tracing::info!("a signal ended the process before the API was ready");
        return Ok(());
    };
    let (listening, store, mut check) = started?;
    let address = listening.address().map_err(system("cannot read the address of the listener"))?;
    let urls = listening.urls().map_err(system("cannot read the address of the listener"))?;
    tracing::info!("serving on {address}");
    tracing::debug!(config = ?flags.api, "configured");
    let said = writeln!(std::io::stdout(), "listening on {urls}");
    said.map_err(system("cannot write to standard output"))?;
    supervisor::ready();

    let reaper = tokio::spawn(reaper::run(store.clone(), reaper::API_PERIOD));
    let asked = async {
        let signal = shutdown.requested().await;
        supervisor::stopping();
        tracing::info!(%signal, "shutting down");
    };
    let served = tokio::select! {
        served = serve(listening, store, flags.api, asked) => served,
        unfit = check.failed() => return Err(unfit.into()),
    };
    reaper.abort();
    served.map_err(system("cannot serve any longer"))
}

/// Opens the certificate, the keys, the store, the place of the results and the port, and starts to check Redis.
async fn start(flags: &mut Flags) -> Result<(Listening, SharedStore, Check), ServeError> {
    let entrance = Entrance::prepare(&flags.api).await?;
    let store = open_store(flags)?;
    flags.api.results = flags.results.open().await?;
    let check = store.check(Process::Api).await?;
    raise_connection_limit();
    Ok((entrance.bind().await?, store, check))
}

/// The store that this process shares with the fleet.
fn open_store(flags: &mut Flags) -> Result<Arc<RedisStore>, ServeError> {
    let RedisConfig { redis_url, redis_prefix } = &flags.redis;
    let url = redis_url.as_ref().unwrap_or_else(|| {
        let message = "--redis-url is required: the API finds its workers through Redis";
        Flags::command().error(ErrorKind::MissingRequiredArgument, message).exit()
    });
    let metrics = Metrics::new(Role::Api);
    flags.api.metrics = Some(metrics.clone());
    Ok(Arc::new(RedisStore::measured(url, redis_prefix, flags.api.rules(), Clock::Store, metrics)?))
}
