//! Who is let in: an app is known by the workers that registered for it, and a job is checked against what
//! they offer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use glimpse_shared::{
    error::StoreResult,
    id::{App, Micros},
    job::{SeenWorker, WorkerState},
    request::Offer,
    store::SharedStore,
};
use tokio::{sync::Mutex, time::Instant};

use crate::error::ApiError;

/// How old the list of workers may be that a job is checked against.
const FRESH: Duration = Duration::from_secs(1);

/// How long after it was last seen a worker counts as alive.
const ALIVE: Duration = Duration::from_secs(30);

/// Whether a worker is alive by what was heard of it.
pub(crate) fn is_alive(worker: &SeenWorker, now: Micros) -> bool {
    now.since(worker.last_seen) <= ALIVE
}

/// The app's workers, as far as a request is concerned.
pub(crate) struct Served {
    /// What they offer.
    pub(crate) offer: Offer,
    /// How many of them take jobs.
    pub(crate) workers: usize,
}

/// The door. Asks the store for its workers at most once a second while it finds what it looks for.
pub(crate) struct Admission {
    store: SharedStore,
    /// Locked while the store is asked, so that many requests at once ask once.
    seen: Mutex<Option<(Instant, Arc<Roster>)>>,
}

/// The workers on record at one moment.
struct Roster {
    now: Micros,
    workers: Vec<SeenWorker>,
}

impl Admission {
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, seen: Mutex::new(None) }
    }

    /// What the workers of `app` offer. The store keeps a worker for a minute after it was last seen, and so an
    /// app outlives a rolling restart.
    pub(crate) async fn served(&self, app: &App) -> Result<Served, ApiError> {
        let asked = Instant::now();
        if let Some(served) = self.roster(fresh(asked)).await?.served(app) {
            return Ok(served);
        }
        // The app's first worker may have come since.
        let roster = self.roster(asked).await?;
        roster.served(app).ok_or_else(|| ApiError::AppUnknown { app: app.to_string(), served: roster.apps() })
    }

    /// How many workers of `app` are alive and take jobs.
    pub(crate) async fn takers(&self, app: &App) -> StoreResult<usize> {
        Ok(self.roster(fresh(Instant::now())).await?.takers(app))
    }

    /// The apps that are served.
    pub(crate) async fn apps(&self) -> StoreResult<Vec<App>> {
        Ok(self.roster(Instant::now()).await?.apps())
    }

    /// What some worker offers, whatever its app: for naming the wrong fields of a request whose app is wrong.
    pub(crate) async fn anything(&self) -> StoreResult<Offer> {
        let roster = self.roster(fresh(Instant::now())).await?;
        Ok(offered(roster.workers.iter()).unwrap_or_else(nothing))
    }

    /// The workers as they were at `since` or later.
    async fn roster(&self, since: Instant) -> StoreResult<Arc<Roster>> {
        let mut seen = self.seen.lock().await;
        if let Some((at, roster)) = &*seen
            && *at >= since
        {
            return Ok(roster.clone());
        }
        let at = Instant::now();
        let (now, workers) = tokio::try_join!(self.store.now(), self.store.workers())?;
        let roster = Arc::new(Roster { now, workers });
        *seen = Some((at, roster.clone()));
        Ok(roster)
    }
}

impl Roster {
    fn of<'a>(&'a self, app: &'a App) -> impl Iterator<Item = &'a SeenWorker> {
        self.workers.iter().filter(move |worker| worker.record.app == *app)
    }

    fn served(&self, app: &App) -> Option<Served> {
        Some(Served { offer: offered(self.of(app))?, workers: self.takers(app) })
    }

    fn takers(&self, app: &App) -> usize {
        let takes =
            |worker: &SeenWorker| worker.record.state != WorkerState::Draining && is_alive(worker, self.now);
        self.of(app).filter(|worker| takes(worker)).count()
    }

    fn apps(&self) -> Vec<App> {
        let apps: BTreeSet<_> = self.workers.iter().map(|worker| worker.record.app.clone()).collect();
        apps.into_iter().collect()
    }
}

/// The time since when an answer counts as fresh. A machine that has just booted has no time before.
fn fresh(now: Instant) -> Instant {
    now.checked_sub(FRESH).unwrap_or(now)
}

/// The native size of the newest worker, and the most of everything else: a job that one worker can serve is
/// let in.
fn offered<'a>(workers: impl Iterator<Item = &'a SeenWorker>) -> Option<Offer> {
    let workers: Vec<_> = workers.collect();
    let newest = &workers.iter().max_by_key(|worker| worker.last_seen)?.record;
    Some(Offer {
        native_width: newest.native_width,
        native_height: newest.native_height,
        max_pixels: workers.iter().map(|worker| worker.record.max_pixels).max()?,
        schedulers: workers.iter().flat_map(|worker| worker.record.schedulers.iter().cloned()).collect(),
    })
}

/// The widest offer, so that only the request's own faults are named.
fn nothing() -> Offer {
    Offer { native_width: 64, native_height: 64, max_pixels: u64::MAX, schedulers: BTreeSet::new() }
}
