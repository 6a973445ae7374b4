//! Decides which requests are accepted: an app exists if workers are registered for it, and a job is checked against
//! their offer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use glimpse_shared::{
    error::StoreResult,
    id::{App, Micros},
    job::{MAX_LISTED_LORAS, SeenWorker, WorkerState},
    needs::Needs,
    recipe::ModelRecipe,
    request::{FieldError, ImageSpec, LoraSource, Offer},
    store::SharedStore,
};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    error::ApiError,
    together::{self, Each},
};

/// The maximum age of the list of workers.
const FRESH: Duration = Duration::from_secs(1);

/// How long after its last heartbeat a worker counts as alive.
const ALIVE: Duration = Duration::from_secs(30);

/// Whether a worker is alive: its last heartbeat is at most 30 s old.
pub(crate) fn is_alive(worker: &SeenWorker, now: Micros) -> bool {
    now.since(worker.last_seen) <= ALIVE
}

/// The workers of an app, for one request.
pub(crate) struct Served {
    /// The offer of all workers together.
    pub(crate) offer: Offer,
    /// How many of them take jobs.
    pub(crate) workers: usize,
    /// The models that they have loaded, each once.
    pub(crate) models: Vec<ModelRecipe>,
    /// The offer of each worker.
    each: Vec<Each>,
}

/// What an app offers, of all its workers together.
pub(crate) struct Offered {
    pub(crate) app: App,
    pub(crate) offer: Offer,
    pub(crate) features: BTreeSet<String>,
    pub(crate) loras: BTreeSet<String>,
    /// Whether each worker lists all of its LoRAs.
    pub(crate) lists_all_loras: bool,
    /// The models that its workers have loaded, each once.
    pub(crate) models: Vec<ModelRecipe>,
    /// How many workers take jobs.
    pub(crate) workers: usize,
    /// How many of them have none.
    pub(crate) idle: usize,
}

impl Served {
    /// Whether one worker meets all needs of a job.
    pub(crate) fn can(&self, needs: &Needs) -> bool {
        self.each.iter().any(|each| each.meets(needs))
    }

    /// Whether no worker has the LoRA of this name in its folder. Workers do not say all that they have.
    pub(crate) fn lacks_lora(&self, name: &str) -> bool {
        self.each.iter().all(|each| each.lacks_lora(name))
    }

    /// The needs of this request's job, if one worker meets all of them.
    ///
    /// # Errors
    /// One entry per field that no worker offers together with the other fields.
    pub(crate) fn needs(&self, spec: &ImageSpec) -> Result<Needs, Vec<FieldError>> {
        together::needs(&self.each, spec)
    }
}

/// Checks requests against the workers. Reads the workers from the store at most once a second, and also when an app is
/// not found.
pub(crate) struct Admission {
    store: SharedStore,
    /// Locked during a read, so that concurrent requests share it.
    seen: Mutex<Option<(Instant, Arc<Roster>)>>,
}

/// The registered workers at one moment.
struct Roster {
    now: Micros,
    workers: Vec<SeenWorker>,
}

impl Admission {
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, seen: Mutex::new(None) }
    }

    /// The workers of `app`. The store keeps a worker for a minute after its last heartbeat, so an app exists through a
    /// rolling restart.
    pub(crate) async fn served(&self, app: &App) -> Result<Served, ApiError> {
        let asked = Instant::now();
        if let Some(served) = self.roster(fresh(asked)).await?.served(app) {
            return Ok(served);
        }
        // The app's first worker may have registered after the last read.
        let roster = self.roster(asked).await?;
        roster.served(app).ok_or_else(|| ApiError::AppUnknown { app: app.to_string(), served: roster.apps() })
    }

    /// How many workers of `app` are alive, take jobs and meet these needs.
    pub(crate) async fn takers(&self, app: &App, needs: &Needs) -> StoreResult<usize> {
        Ok(self.roster(fresh(Instant::now())).await?.takers(app, needs))
    }

    /// How many workers of all apps are alive and take jobs.
    pub(crate) async fn all_takers(&self) -> StoreResult<usize> {
        let roster = self.roster(fresh(Instant::now())).await?;
        Ok(roster.apps().iter().map(|app| roster.takers(app, &Needs::default())).sum())
    }

    /// The apps that are served.
    pub(crate) async fn apps(&self) -> StoreResult<Vec<App>> {
        Ok(self.roster(Instant::now()).await?.apps())
    }

    /// What each app offers, by its name.
    pub(crate) async fn offered(&self) -> StoreResult<Vec<Offered>> {
        let roster = self.roster(fresh(Instant::now())).await?;
        Ok(roster.apps().into_iter().filter_map(|app| roster.offered(app)).collect())
    }

    /// The offer of all workers of all apps: to check the fields of a request whose app is unknown.
    pub(crate) async fn anything(&self) -> StoreResult<Offer> {
        let roster = self.roster(fresh(Instant::now())).await?;
        Ok(offered(roster.workers.iter()).unwrap_or_else(nothing))
    }

    /// The workers, read at `since` or later.
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
        Some(Served {
            offer: offered(self.of(app))?,
            workers: self.takers(app, &Needs::default()),
            models: each_once(self.of(app).filter_map(|worker| worker.record.model.clone())),
            each: self.of(app).map(|worker| Each::of(&worker.record)).collect(),
        })
    }

    fn takers(&self, app: &App, needs: &Needs) -> usize {
        let takes = |worker: &SeenWorker| {
            worker.record.state != WorkerState::Draining
                && is_alive(worker, self.now)
                && needs.met_by(&worker.record.capabilities())
        };
        self.of(app).filter(|worker| takes(worker)).count()
    }

    fn offered(&self, app: App) -> Option<Offered> {
        let records = || self.of(&app).map(|worker| &worker.record);
        let takes = |worker: &&SeenWorker| is_alive(worker, self.now);
        let idle = self.of(&app).filter(takes).filter(|worker| worker.record.state == WorkerState::Idle);
        let lists_all_loras = records().all(|record| record.loras.len() < MAX_LISTED_LORAS);
        Some(Offered {
            offer: offered(self.of(&app))?,
            features: records().flat_map(|record| record.features.iter().cloned()).collect(),
            loras: records().flat_map(|record| record.loras.iter().cloned()).collect(),
            lists_all_loras,
            models: each_once(records().filter_map(|record| record.model.clone())),
            workers: self.takers(&app, &Needs::default()),
            idle: idle.count(),
            app,
        })
    }

    fn apps(&self) -> Vec<App> {
        let apps: BTreeSet<_> = self.workers.iter().map(|worker| worker.record.app.clone()).collect();
        apps.into_iter().collect()
    }
}

/// The models without repetitions.
fn each_once(all: impl Iterator<Item = ModelRecipe>) -> Vec<ModelRecipe> {
    all.fold(Vec::new(), |mut models, model| {
        if !models.contains(&model) {
            models.push(model);
        }
        models
    })
}

/// The oldest time of a fresh list. `Instant` may have no earlier time shortly after a boot.
fn fresh(now: Instant) -> Instant {
    now.checked_sub(FRESH).unwrap_or(now)
}

/// The native size of the newest worker, and everything that some worker offers: a value that no worker offers is
/// invalid. [`Served::needs`] then checks whether one worker meets all needs.
fn offered<'a>(workers: impl Iterator<Item = &'a SeenWorker>) -> Option<Offer> {
    let workers: Vec<_> = workers.collect();
    let newest = &workers.iter().max_by_key(|worker| worker.last_seen)?.record;
    Some(Offer {
        native_width: newest.native_width,
        native_height: newest.native_height,
        max_pixels: workers.iter().map(|worker| worker.record.max_pixels).max()?,
        schedulers: workers.iter().flat_map(|worker| worker.record.schedulers.iter().cloned()).collect(),
        lora_sources: workers.iter().flat_map(|worker| worker.record.lora_sources()).collect(),
        controlnet_hub: workers.iter().any(|worker| worker.record.has_controlnet_hub()),
    })
}

/// An offer without limits, so that only the request's own errors are reported.
fn nothing() -> Offer {
    Offer {
        native_width: 64,
        native_height: 64,
        max_pixels: u64::MAX,
        schedulers: BTreeSet::new(),
        lora_sources: LoraSource::ALL.into(),
        controlnet_hub: true,
    }
}
