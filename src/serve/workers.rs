//! The workers of a process: one for each app, each with its own pipeline thread.

use std::{path::PathBuf, sync::Arc};

use futures::future::try_join_all;
use glimpse_shared::{
    id::{App, WorkerId},
    metrics::Work,
    results::Results,
    store::SharedStore,
};
use glimpse_worker::{
    controlnet_dir::ControlNetDir,
    loras::Loras,
    recipes::Recipes,
    runner::{Ended, Worker},
    starting::{self, Opened},
};
use tokio::{
    sync::{oneshot, watch},
    task::{JoinError, JoinSet},
};

use super::app::AppFlags;

/// An app with the model of its worker.
#[derive(Debug)]
pub struct ServedApp {
    pub name: App,
    pub model: PathBuf,
    pub flags: AppFlags,
    /// Whether it is one of several, so that errors have to name it.
    pub is_of_fleet: bool,
}

/// An app whose device is open, and whose model is not loaded yet.
pub struct OpenedApp {
    app: ServedApp,
    loras: Loras,
    controlnets: Option<ControlNetDir>,
    opened: Opened,
}

/// What the workers of a process share.
pub struct Common {
    pub store: SharedStore,
    pub results: Option<Results>,
    pub work: Work,
}

impl ServedApp {
    /// Opens its folders and its device.
    ///
    /// # Errors
    /// If one of them cannot be opened.
    pub async fn open(self) -> Result<OpenedApp, String> {
        let model = &self.flags.model;
        let folders = model.loras().and_then(|loras| Ok((loras, model.controlnets()?)));
        let (loras, controlnets) = folders.map_err(|error| self.named(&error))?;
        let opened = starting::open(model.clone(), self.model.clone()).await;
        let opened = opened.map_err(|error| self.named(&error.to_string()))?;
        Ok(OpenedApp { app: self, loras, controlnets, opened })
    }

    fn named(&self, error: &str) -> String {
        match self.is_of_fleet {
            true => format!("app {}: {error}", self.name),
            false => error.to_owned(),
        }
    }
}

impl OpenedApp {
    async fn load(self, common: Arc<Common>) -> Result<Worker, String> {
        let Self { app, loras, controlnets, opened } = self;
        let (engine, offers) = opened.load().await.map_err(|error| app.named(&error.to_string()))?;
        let (name, identity) = (app.name.clone(), offers.identity.clone());
        let recipes = Recipes::new(Some(name), &app.model, identity, &app.flags.metadata);
        Ok(Worker {
            store: common.store.clone(),
            id: WorkerId::new("local"),
            engine,
            offers,
            loras,
            controlnets,
            results: common.results.clone(),
            recipes: Some(Arc::new(recipes)),
            hook: app.flags.hook.open(),
            checkpoint_every: app.flags.fleet.checkpoint_every,
            drain_grace: app.flags.fleet.drain_grace(),
            work: common.work.clone(),
            app: app.name,
        })
    }
}

/// Loads all models at once.
///
/// # Errors
/// If one of them cannot be loaded.
pub async fn load(apps: Vec<OpenedApp>, common: Common) -> Result<Vec<Worker>, String> {
    let common = Arc::new(common);
    try_join_all(apps.into_iter().map(|app| app.load(common.clone()))).await
}

/// Runs the workers until all have ended, and sends `ready` when all take jobs. If the device of one fails, `stop` is set:
/// the whole process ends, so that its supervisor starts it again.
///
/// # Errors
/// If the task of a worker panics.
pub async fn run(
    workers: Vec<Worker>,
    ready: oneshot::Sender<()>,
    stop: watch::Sender<bool>,
) -> Result<Ended, JoinError> {
    let (mut running, mut are_ready) = (JoinSet::new(), Vec::new());
    for worker in workers {
        let (ready, is_ready) = oneshot::channel();
        are_ready.push(is_ready);
        let (app, stopped) = (worker.app.clone(), stop.subscribe());
        running.spawn(async move {
            let ready = || {
                // Nobody waits for it any more when the process ends.
                let _ = ready.send(());
            };
            (worker.run(ready, until(stopped)).await, app)
        });
    }
    let announcing = tokio::spawn(async move {
        if try_join_all(are_ready).await.is_ok() {
            let _ = ready.send(());
        }
    });
    let mut ended = Ended::Drained;
    while let Some(worker) = running.join_next().await {
        let (how, app) = worker?;
        if how == Ended::DeviceFault {
            tracing::error!(%app, "the device of this app failed: the process ends");
            stop.send_replace(true);
            ended = how;
        }
    }
    announcing.abort();
    Ok(ended)
}

/// Waits until `stopped` is true.
pub async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone: also the end.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
