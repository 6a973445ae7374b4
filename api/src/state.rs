//! The shared state of all routes. It has no state of a job: any API serves any job.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue, header, uri::Authority};
use glimpse_shared::{
    error::StoreResult,
    metrics::{Metrics, Role},
    store::SharedStore,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::Admission,
    blocking::Blocking,
    body::Bodies,
    config::Config,
    error::ApiError,
    fetch::Fetcher,
    keys::{KeyRing, Rates},
    policy::Policy,
    positions::Positions,
    webhooks::Webhooks,
};

/// The timeout of a request for the store, then 503: below the 15 s of `docs/guarantees.md`, and above the store's own
/// timeout of 5 s for a command.
const STORE_TIMEOUT: Duration = Duration::from_secs(12);

/// The shared state of all routes.
pub(crate) struct Shared {
    pub(crate) store: SharedStore,
    pub(crate) config: Config,
    /// The keys of clients; `None`: everybody is served without one.
    pub(crate) keys: Option<KeyRing>,
    /// The requests per minute.
    pub(crate) rates: Rates,
    pub(crate) metrics: Metrics,
    /// The address that this process listens on.
    listens_on: SocketAddr,
    pub(crate) admission: Admission,
    /// The positions of waiting jobs.
    pub(crate) positions: Positions,
    /// Decides which prompts are allowed.
    pub(crate) policy: Policy,
    /// Fetches pictures; `None` if the operator does not allow it.
    pub(crate) fetcher: Option<Fetcher>,
    /// Checks and calls webhooks.
    pub(crate) webhooks: Webhooks,
    /// For large requests: parses bodies and decodes pictures.
    pub(crate) requests: Blocking,
    /// For large responses. Separate from `requests`, so that responses never wait for requests.
    pub(crate) answers: Blocking,
    /// Reads bodies.
    pub(crate) bodies: Bodies,
    /// One permit for each open event stream, and for each client that waits for its pictures.
    streams: Arc<Semaphore>,
    /// Cancelled at the start of the shutdown: followers that can resume are disconnected.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the grace is over: all clients are disconnected.
    pub(crate) ending: CancellationToken,
    /// The open connections: their tasks, and those that were upgraded. A shutdown waits for them.
    pub(crate) connections: TaskTracker,
    /// Tasks that must finish although their client has disconnected.
    pub(crate) tasks: TaskTracker,
}

/// A handle to the shared state.
pub(crate) type Api = Arc<Shared>;

impl Shared {
    pub(crate) fn new(
        store: SharedStore,
        config: Config,
        keys: Option<KeyRing>,
        listens_on: SocketAddr,
        fetcher: Option<Fetcher>,
    ) -> Api {
        Arc::new(Self {
            admission: Admission::new(store.clone()),
            positions: Positions::new(store.clone()),
            policy: Policy::new(&config.policy),
            fetcher,
            webhooks: Webhooks::new(&config),
            requests: Blocking::new(),
            answers: Blocking::new(),
            bodies: Bodies::new(config.body_limit),
            streams: Arc::new(Semaphore::new(config.max_streams.min(Semaphore::MAX_PERMITS))),
            store,
            metrics: config.metrics.clone().unwrap_or_else(|| Metrics::new(Role::Api)),
            config,
            keys,
            rates: Rates::default(),
            listens_on,
            draining: CancellationToken::new(),
            ending: CancellationToken::new(),
            connections: TaskTracker::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Returns an error if other machines can reach this process.
    pub(crate) fn reached_by_this_machine_alone(&self) -> Result<(), ApiError> {
        let listens_on = self.listens_on;
        match listens_on.ip().to_canonical().is_loopback() {
            true => Ok(()),
            false => Err(ApiError::ForThisMachine { listens_on }),
        }
    }

    /// Without keys, returns an error if other machines can reach this process, or if the request is for another host
    /// name: a web page can give its own name this machine's address (DNS rebinding).
    pub(crate) fn for_this_machine(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.keys.is_some() {
            return Ok(());
        }
        self.reached_by_this_machine_alone()?;
        let listens_on = self.listens_on;
        match headers.get(header::HOST).is_none_or(is_this_machine) {
            true => Ok(()),
            false => Err(ApiError::ForeignHost { listens_on }),
        }
    }

    /// The address that this process listens on.
    pub(crate) fn listens_on(&self) -> SocketAddr {
        self.listens_on
    }

    /// A permit for a stream.
    pub(crate) fn stream(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = self.streams.clone().try_acquire_owned();
        place.map_err(|_| ApiError::StreamsFull { limit: self.config.max_streams })
    }
}

/// Whether a Host header names a loopback address.
fn is_this_machine(host: &HeaderValue) -> bool {
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let name = authority.host().trim_matches(['[', ']']).trim_end_matches('.');
        let address = name.parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
    })
}

/// The store's answer, or an error for the client; 503 after the timeout.
pub(crate) async fn ask<T>(answer: impl Future<Output = StoreResult<T>>) -> Result<T, ApiError> {
    in_time(async { Ok(answer.await?) }).await
}

/// The same for several commands.
pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    StoreDeadline::default().with(answer).await
}

/// The rest of a request's timeout for the store: over all commands, without the time for pictures.
pub(crate) struct StoreDeadline(Duration);

impl Default for StoreDeadline {
    fn default() -> Self {
        Self(STORE_TIMEOUT)
    }
}

impl StoreDeadline {
    /// The answer, or 503 after the timeout.
    pub(crate) async fn with<T>(
        &mut self,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let asked = Instant::now();
        let answer = tokio::time::timeout(self.0, answer).await.unwrap_or(Err(ApiError::StoreAway));
        self.0 = self.0.saturating_sub(asked.elapsed());
        answer
    }
}
