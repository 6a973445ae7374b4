//! Holds a job: renews its lease while it runs, and settles it exactly once.

use std::time::Duration;

use glimpse_shared::{
    error::StoreError,
    job::Release,
    retry::Waits,
    store::{Checkpoint, Ending, Finish, Hold, Lease, Preview, Released, SharedStore},
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::checkpoints::Checkpoints;

/// How often a lease of 15 s is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// The first and the longest wait between two attempts at a store that does not respond.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why a job stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled it.
    Cancelled,
    /// It belongs to another worker now.
    Lost,
    /// This worker drains and its grace is over.
    Drain,
}

/// A job that this worker holds. Settled by [`Held::finish`], [`Held::release`] or [`Held::abandon`], each of
/// which consumes it.
pub struct Held {
    store: SharedStore,
    lease: Lease,
    stop: watch::Sender<Option<Stop>>,
    keeper: JoinHandle<()>,
}

impl Held {
    /// Starts to renew a new lease, and to store the checkpoints of its job. `stop` is set when the job is cancelled or
    /// lost.
    pub fn new(
        store: SharedStore,
        lease: Lease,
        stop: watch::Sender<Option<Stop>>,
        checkpoints: &Checkpoints,
    ) -> Self {
        let keeper = keep(store.clone(), lease.clone(), stop.clone(), checkpoints.subscribe());
        let keeper = tokio::spawn(keeper);
        Self { store, lease, stop, keeper }
    }

    /// The lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Publishes a preview once: it would be out of date at a retry.
    pub async fn publish(&mut self, preview: &Preview) {
        match self.store.publish(&mut self.lease, preview).await {
            Ok(hold) => stop_unless_held(hold, &self.stop),
            Err(error) => tracing::warn!(job = %self.lease.job.id, %error, "a preview was not published"),
        }
    }

    /// Ends the job. A finished picture is not dropped during an outage: this retries until there is an answer. `None`
    /// if no retry can help: the lease expires, and the next attempt decides.
    pub async fn finish(mut self, ending: &Ending) -> Option<Finish> {
        let mut retry = Retry::new("finish");
        loop {
            match self.store.finish(&mut self.lease, ending).await {
                Ok(finish) => return Some(finish),
                Err(error) if error.is_permanent() => return self.give_up("finish", &error),
                Err(error) => retry.pause(&error).await,
            }
        }
    }

    /// Returns the job to the queue. `None` if no retry can help, as in [`Held::finish`].
    pub async fn release(self, release: &Release) -> Option<Released> {
        let mut retry = Retry::new("release");
        loop {
            match self.store.release(&self.lease, release).await {
                Ok(released) => return Some(released),
                Err(error) if error.is_permanent() => return self.give_up("release", &error),
                Err(error) => retry.pause(&error).await,
            }
        }
    }

    fn give_up<T>(&self, what: &'static str, error: &StoreError) -> Option<T> {
        tracing::error!(job = %self.lease.job.id, %error, "{what} failed permanently: the job's lease will expire, and its next attempt decides");
        None
    }

    /// Drops a job that this worker no longer holds.
    pub fn abandon(self) {}
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Renews until the job is no longer ours: at its interval, and as soon as there is a checkpoint.
async fn keep(
    store: SharedStore,
    lease: Lease,
    stop: watch::Sender<Option<Stop>>,
    mut checkpoints: watch::Receiver<Option<Checkpoint>>,
) {
    let mut next = Instant::now() + RENEW_EVERY;
    loop {
        let mut checkpoint = tokio::select! {
            biased;
            checkpoint = newest(&mut checkpoints) => Some(checkpoint),
            () = tokio::time::sleep_until(next) => None,
        };
        let mut retry = Retry::new("renew");
        let hold = loop {
            match store.renew(&lease, checkpoint.as_ref()).await {
                Ok(hold) => break hold,
                Err(error) if error.is_permanent() && checkpoint.is_none() => {
                    tracing::error!(job = %lease.job.id, %error, "the renewal failed permanently: the job is abandoned");
                    break Hold::Lost;
                }
                Err(error) => {
                    // The lease must be renewed; the checkpoint need not be stored, and may be what takes too long.
                    checkpoint = None;
                    retry.pause(&error).await;
                }
            }
        };
        stop_unless_held(hold, &stop);
        if hold != Hold::Held {
            return;
        }
        next = Instant::now() + RENEW_EVERY;
    }
}

/// The next checkpoint, as soon as there is one.
async fn newest(checkpoints: &mut watch::Receiver<Option<Checkpoint>>) -> Checkpoint {
    loop {
        // Without a sender there are no more checkpoints: the pipeline has dropped the job.
        if checkpoints.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(checkpoint) = checkpoints.borrow_and_update().clone() {
            return checkpoint;
        }
    }
}

/// Stops the job unless it is held; the first reason stays.
fn stop_unless_held(hold: Hold, stop: &watch::Sender<Option<Stop>>) {
    let reason = match hold {
        Hold::Held => return,
        Hold::Cancelled => Stop::Cancelled,
        Hold::Lost => Stop::Lost,
    };
    halt(stop, reason);
}

/// Stops the work on a job; the first reason stays.
pub fn halt(stop: &watch::Sender<Option<Stop>>, reason: Stop) {
    stop.send_if_modified(|current| {
        let first = current.is_none();
        current.get_or_insert(reason);
        first
    });
}

/// Waits between attempts, longer each time, and logs it.
pub(crate) struct Retry {
    what: &'static str,
    waits: Waits,
}

impl Retry {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, waits: Waits::new(BACKOFF.0, BACKOFF.1) }
    }

    pub(crate) async fn pause(&mut self, error: &StoreError) {
        tracing::warn!(%error, "{} failed; retrying", self.what);
        tokio::time::sleep(self.waits.next()).await;
    }
}
