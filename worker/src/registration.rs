//! The worker's registration and heartbeats: `/v1/workers` shows them.

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
    lease::Backoff,
    pipeline::{Description, StepProgress},
};

/// The interval of heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// The worker's state, and the progress of its job.
pub type Activity = (WorkerState, Option<StepsDone>);

/// The progress of one job: set after each step, read by each heartbeat.
#[derive(Debug, Clone, Default)]
pub struct StepsDone(Arc<AtomicU64>);

impl StepsDone {
    /// Records a step.
    pub fn set(&self, at: StepProgress) {
        // The number of steps is always below 2^32.
        self.0.store((at.step as u64) << 32 | at.steps as u64, Ordering::Relaxed);
    }

    /// `None` before the first step.
    fn progress(&self) -> Option<job::Progress> {
        let both = self.0.load(Ordering::Relaxed);
        let (done, steps) = ((both >> 32) as u32, both as u32);
        Some(job::Progress { step: done.checked_sub(1)?, steps })
    }
}

/// The worker's record before its first job.
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

/// Registers the worker, and retries until the store responds: only then may it claim.
pub async fn first(store: &SharedStore, record: &WorkerRecord) {
    let mut backoff = Backoff::new("registration");
    while let Err(error) = store.heartbeat(record).await {
        backoff.pause(&error).await;
    }
}

/// Sends a heartbeat whenever the activity changes and every few seconds, until `activity` is closed.
pub async fn send_heartbeats(
    store: SharedStore,
    mut record: WorkerRecord,
    mut activity: watch::Receiver<Activity>,
) {
    loop {
        let closed = tokio::select! {
            biased;
            changed = activity.changed() => changed.is_err(),
            () = tokio::time::sleep(HEARTBEAT_INTERVAL) => false,
        };
        (record.state, record.progress) = {
            let now = activity.borrow_and_update();
            (now.0, now.1.as_ref().and_then(StepsDone::progress))
        };
        if closed {
            // The record stays, as that of a worker that takes no more jobs.
            (record.state, record.progress) = (WorkerState::Draining, None);
        }
        if let Err(error) = store.heartbeat(&record).await {
            tracing::debug!(%error, "a heartbeat failed");
        }
        if closed {
            return;
        }
    }
}
