//! What `/v1/workers` says about this worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use glimpse_shared::{
    id::{App, WorkerId},
    job::{self, WorkerRecord, WorkerState},
    store::SharedStore,
};
use tokio::sync::watch;

use crate::{
    lease::Retry,
    pipeline::{Description, Progress},
};

/// How often a worker says that it lives.
const EVERY: Duration = Duration::from_secs(5);

/// What a worker is doing, and how far it is with it.
pub type Doing = (WorkerState, Option<StepsDone>);

/// How far one job is: set after each of its steps, read with each heartbeat.
#[derive(Debug, Clone, Default)]
pub struct StepsDone(Arc<AtomicU64>);

impl StepsDone {
    /// A step was taken.
    pub fn set(&self, at: Progress) {
        // Nobody takes 2^32 steps.
        self.0.store((at.step as u64) << 32 | at.steps as u64, Ordering::Relaxed);
    }

    /// `None` before the first step.
    fn progress(&self) -> Option<job::Progress> {
        let both = self.0.load(Ordering::Relaxed);
        let (done, steps) = ((both >> 32) as u32, both as u32);
        Some(job::Progress { step: done.checked_sub(1)?, steps })
    }
}

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
        progress: None,
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
        (record.state, record.progress) = {
            let now = doing.borrow_and_update();
            (now.0, now.1.as_ref().and_then(StepsDone::progress))
        };
        if closed {
            // The record stays, as of one who takes nothing more.
            (record.state, record.progress) = (WorkerState::Draining, None);
        }
        if let Err(error) = store.heartbeat(&record).await {
            tracing::debug!(%error, "a heartbeat was not heard");
        }
        if closed {
            return;
        }
    }
}
