//! Holding on to a job: renewed while it is worked on, and settled exactly once.

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
/// The first and the longest wait between two tries at a store that does not answer.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why the work on a job stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled it.
    Cancelled,
    /// It is another worker's by now.
    Lost,
    /// This worker is told to go and its grace is over.
    Drain,
}

/// A job in this worker's hands. Settled by [`Held::finish`], [`Held::release`] or [`Held::abandon`], each of
/// which consumes it.
pub struct Held {
    store: SharedStore,
    lease: Lease,
    stop: watch::Sender<Option<Stop>>,
    keeper: JoinHandle<()>,
}

impl Held {
    /// Begins to renew a fresh lease, and to hand on the checkpoints of its job. `stop` hears of a cancelled or lost job, whoever notices first.
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

    /// Publishes a preview, once: one that the store did not take is old by the time it would.
    pub async fn publish(&mut self, preview: &Preview) {
        match self.store.publish(&mut self.lease, preview).await {
            Ok(hold) => heed(hold, &self.stop),
            Err(error) => tracing::warn!(job = %self.lease.job.id, %error, "a preview was not published"),
        }
    }

    /// Ends the job. A finished picture is not dropped because the store is away: this tries until it is
    /// answered. `None` if no retry can help: the lease runs out, and the next attempt decides.
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

    /// Gives the job back. `None` if no retry can help, as in [`Held::finish`].
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
        tracing::error!(job = %self.lease.job.id, %error, "{what} failed for good: the job waits for its lease to run out");
        None
    }

    /// Lets go of a job that is no longer ours.
    pub fn abandon(self) {}
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Renews until the job is no longer ours: when it is time, and as soon as there is a checkpoint to go with it.
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
                    tracing::error!(job = %lease.job.id, %error, "renew failed for good: the job is abandoned");
                    break Hold::Lost;
                }
                Err(error) => {
                    // The lease must hold on, and a checkpoint need not: it may be what takes too long.
                    checkpoint = None;
                    retry.pause(&error).await;
                }
            }
        };
        heed(hold, &stop);
        if hold != Hold::Held {
            return;
        }
        next = Instant::now() + RENEW_EVERY;
    }
}

/// The next checkpoint, as soon as there is one.
async fn newest(checkpoints: &mut watch::Receiver<Option<Checkpoint>>) -> Checkpoint {
    loop {
        // Without a sender there will be none any more; the pipeline has let go of the job.
        if checkpoints.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(checkpoint) = checkpoints.borrow_and_update().clone() {
            return checkpoint;
        }
    }
}

/// Passes bad news on; the first reason to stop stays.
fn heed(hold: Hold, stop: &watch::Sender<Option<Stop>>) {
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

/// Waits between tries, longer each time, and says so.
pub(crate) struct Retry {
    what: &'static str,
    waits: Waits,
}

impl Retry {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, waits: Waits::new(BACKOFF.0, BACKOFF.1) }
    }

    pub(crate) async fn pause(&mut self, error: &StoreError) {
        tracing::warn!(%error, "{} will be tried again", self.what);
        tokio::time::sleep(self.waits.next()).await;
    }
}
