//! What every route shares. Nothing about a job is here: any replica answers for any job.

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

/// How long a client waits for the store before it is told that the store is away: within the 15 s that are
/// promised, after the 5 s that the store gives one command and its repetition.
const PATIENCE: Duration = Duration::from_secs(12);

/// What the routes share.
pub(crate) struct Shared {
    pub(crate) store: SharedStore,
    pub(crate) config: Config,
    /// Where this process listens.
    listens_on: SocketAddr,
    pub(crate) admission: Admission,
    /// Fetches pictures; none where the operator does not want it.
    pub(crate) fetcher: Option<Fetcher>,
    /// Parses large bodies and decodes their pictures.
    pub(crate) requests: Blocking,
    /// Takes large answers out of events; they never wait for a request.
    pub(crate) answers: Blocking,
    /// Reads bodies.
    pub(crate) bodies: Bodies,
    /// One permit for each open event stream, and for each client that waits for its answer.
    streams: Arc<Semaphore>,
    /// Cancelled when this process takes no more requests: followers that can resume go elsewhere.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the grace is over: nobody is served on.
    pub(crate) ending: CancellationToken,
    /// What must be told to the store although the client has gone.
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

    /// Refuses what is for the machine alone that this process runs on, where others may reach it.
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

/// The store's answer, or what the client is told when there is none in time.
pub(crate) async fn ask<T>(answer: impl Future<Output = StoreResult<T>>) -> Result<T, ApiError> {
    in_time(async { Ok(answer.await?) }).await
}

/// The same for several questions in a row.
pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    Patience::default().with(answer).await
}

/// How long one client still waits for the store: over all that is asked on its behalf, without the time that its
/// pictures take.
pub(crate) struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(PATIENCE)
    }
}

impl Patience {
    /// The answer, or what the client is told when there is none in time.
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
