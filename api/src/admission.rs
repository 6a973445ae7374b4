//! Who is let in: an app is known by the workers that registered for it, and a job is checked against what
//! they offer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use glimpse_shared::{error::StoreResult, id::App, job::SeenWorker, request::Offer, store::SharedStore};
use tokio::{sync::Mutex, time::Instant};

use crate::error::ApiError;

/// How old the list of workers may be that a job is checked against.
const FRESH: Duration = Duration::from_secs(1);

/// The app's workers, as far as a request is concerned.
pub(crate) struct Served {
    /// What they offer.
    pub(crate) offer: Offer,
    /// How many there are.
    pub(crate) workers: usize,
}

/// The door. Asks the store for its workers at most once a second while it finds what it looks for.
pub(crate) struct Admission {
    store: SharedStore,
    /// Locked while the store is asked, so that many requests at once ask once.
    seen: Mutex<Option<(Instant, Workers)>>,
}

type Workers = Arc<[SeenWorker]>;

impl Admission {
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, seen: Mutex::new(None) }
    }

    /// What the workers of `app` offer. The store keeps a worker for a minute after it was last seen, and so an
    /// app outlives a rolling restart.
    pub(crate) async fn served(&self, app: &App) -> Result<Served, ApiError> {
        let asked = Instant::now();
        let workers = self.workers(fresh(asked)).await?;
        if let Some(served) = offered(&workers, |worker| worker.record.app == *app) {
            return Ok(served);
        }
        // The app's first worker may have come since.
        let workers = self.workers(asked).await?;
        offered(&workers, |worker| worker.record.app == *app)
            .ok_or_else(|| ApiError::AppUnknown { app: app.to_string(), served: apps(&workers) })
    }

    /// The apps that are served.
    pub(crate) async fn apps(&self) -> StoreResult<Vec<App>> {
        Ok(apps(&self.workers(Instant::now()).await?))
    }

    /// What some worker offers, whatever its app: for naming the wrong fields of a request whose app is wrong.
    pub(crate) async fn anything(&self) -> StoreResult<Offer> {
        let workers = self.workers(fresh(Instant::now())).await?;
        Ok(offered(&workers, |_| true).map_or_else(nothing, |served| served.offer))
    }

    /// The workers as they were at `since` or later.
    async fn workers(&self, since: Instant) -> StoreResult<Workers> {
        let mut seen = self.seen.lock().await;
        if let Some((at, workers)) = &*seen
            && *at >= since
        {
            return Ok(workers.clone());
        }
        let at = Instant::now();
        let workers: Workers = self.store.workers().await?.into();
        *seen = Some((at, workers.clone()));
        Ok(workers)
    }
}

/// The time since when an answer counts as fresh. A machine that has just booted has no time before.
fn fresh(now: Instant) -> Instant {
    now.checked_sub(FRESH).unwrap_or(now)
}

fn apps(workers: &[SeenWorker]) -> Vec<App> {
    let apps: BTreeSet<_> = workers.iter().map(|worker| worker.record.app.clone()).collect();
    apps.into_iter().collect()
}

/// The native size of the newest worker, and the most of everything else: a job that one worker can serve is
/// let in.
fn offered(workers: &[SeenWorker], of: impl Fn(&SeenWorker) -> bool) -> Option<Served> {
    let workers: Vec<_> = workers.iter().filter(|worker| of(worker)).collect();
    let newest = &workers.iter().max_by_key(|worker| worker.last_seen)?.record;
    let offer = Offer {
        native_width: newest.native_width,
        native_height: newest.native_height,
        max_pixels: workers.iter().map(|worker| worker.record.max_pixels).max()?,
        schedulers: workers.iter().flat_map(|worker| worker.record.schedulers.iter().cloned()).collect(),
    };
    Some(Served { offer, workers: workers.len() })
}

/// The widest offer, so that only the request's own faults are named.
fn nothing() -> Offer {
    Offer { native_width: 64, native_height: 64, max_pixels: u64::MAX, schedulers: BTreeSet::new() }
}
