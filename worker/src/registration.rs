//! What `/v1/workers` says about this worker.

use std::time::Duration;

use glimpse_shared::{
    id::{App, JobId, WorkerId},
    job::{WorkerRecord, WorkerState},
    store::SharedStore,
};
use tokio::sync::watch;

use crate::{lease::Retry, pipeline::Description};

/// How often a worker says that it lives.
const EVERY: Duration = Duration::from_secs(5);

/// What a worker is doing, and on which job.
pub type Doing = (WorkerState, Option<JobId>);

/// The worker's record before anything is known of its jobs.
pub fn record(id: WorkerId, app: App, offers: &Description) -> WorkerRecord {
    WorkerRecord {
        id,
        app,
        native_width: offers.native_width,
        native_height: offers.native_height,
        max_pixels: offers.max_pixels,
        schedulers: offers.schedulers.clone(),
        device: offers.device.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: WorkerState::Idle,
        job: None,
    }
}

/// Registers the worker, trying until the store answers: only then may it claim.
pub async fn first(store: &SharedStore, record: &WorkerRecord) {
    let mut retry = Retry::new("registration");
    while let Err(error) = store.heartbeat(record).await {
        retry.pause(&error).await;
    }
}

/// Says what the worker is doing whenever that changes and every few seconds, until `doing` is closed.
pub async fn keep(store: SharedStore, mut record: WorkerRecord, mut doing: watch::Receiver<Doing>) {
    loop {
        let closed = tokio::select! {
            biased;
            changed = doing.changed() => changed.is_err(),
            () = tokio::time::sleep(EVERY) => false,
        };
        (record.state, record.job) = *doing.borrow_and_update();
        if closed {
            // The record stays, as of one who takes nothing more.
            (record.state, record.job) = (WorkerState::Draining, None);
        }
        if let Err(error) = store.heartbeat(&record).await {
            tracing::debug!(%error, "a heartbeat was not heard");
        }
        if closed {
            return;
        }
    }
}
