//! What all routes share. No state of a job is here: any API serves any job.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use glimpse_shared::{error::StoreResult, store::SharedStore};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::Admission, blocking::Blocking, body::Bodies, config::Config, error::ApiError, fetch::Fetcher,
};

/// How long a request waits for the store before it gets 503: within the promised 15 s, and longer than the 5 s that
/// the store gives a command with its retry.
const STORE_TIMEOUT: Duration = Duration::from_secs(12);

/// What the routes share.
pub(crate) struct Shared {
    pub(crate) store: SharedStore,
    pub(crate) config: Config,
    /// The address that this process listens on.
    listens_on: SocketAddr,
    pub(crate) admission: Admission,
    /// Fetches pictures; `None` if the operator does not allow it.
    pub(crate) fetcher: Option<Fetcher>,
    /// Parses large bodies and decodes their pictures.
    pub(crate) requests: Blocking,
    /// Extracts large responses from events; they never wait for a request.
    pub(crate) answers: Blocking,
    /// Reads bodies.
    pub(crate) bodies: Bodies,
    /// One permit for each open event stream, and for each client that waits for its response.
    streams: Arc<Semaphore>,
    /// Cancelled when this process accepts no more requests: followers that can resume are disconnected.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the grace is over: no client is served any more.
    pub(crate) ending: CancellationToken,
    /// Tasks that must reach the store although their client has disconnected.
    pub(crate) tasks: TaskTracker,
}

/// A handle to what the routes share.
pub(crate) type Api = Arc<Shared>;

impl Shared {
    pub(crate) fn new(
        store: SharedStore,
        config: Config,
        listens_on: SocketAddr,
        fetcher: Option<Fetcher>,
    ) -> Api {
        Arc::new(Self {
            admission: Admission::new(store.clone()),
            fetcher,
            requests: Blocking::new(),
            answers: Blocking::new(),
            bodies: Bodies::new(config.body_limit),
            streams: Arc::new(Semaphore::new(config.max_streams.min(Semaphore::MAX_PERMITS))),
            store,
            config,
            listens_on,
            draining: CancellationToken::new(),
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Refuses routes that are only for this machine, if other machines can reach this process.
    pub(crate) fn for_this_machine(&self) -> Result<(), ApiError> {
        let listens_on = self.listens_on;
        let is_loopback = listens_on.ip().to_canonical().is_loopback();
        if is_loopback { Ok(()) } else { Err(ApiError::ForThisMachine { listens_on }) }
    }

    /// A place among the open streams.
    pub(crate) fn stream(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = self.streams.clone().try_acquire_owned();
        place.map_err(|_| ApiError::StreamsFull { limit: self.config.max_streams })
    }
}

/// The store's answer, or the client's error if there is none in time.
pub(crate) async fn ask<T>(answer: impl Future<Output = StoreResult<T>>) -> Result<T, ApiError> {
    in_time(async { Ok(answer.await?) }).await
}

/// The same for several commands in a row.
pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    StoreDeadline::default().with(answer).await
}

/// How long one request may still wait for the store: over all its commands, without the time for its pictures.
pub(crate) struct StoreDeadline(Duration);

impl Default for StoreDeadline {
    fn default() -> Self {
        Self(STORE_TIMEOUT)
    }
}

impl StoreDeadline {
    /// The answer, or the client's error if there is none in time.
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
