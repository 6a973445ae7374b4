//! Holds a job: renews its lease while the job runs, and settles the job exactly once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use glimpse_shared::{
    error::StoreError,
    job::Release,
    metrics::{Stage, Work},
    retry::Waits,
    store::{Checkpoint, Ending, Finish, Hold, Lease, Preview, Released, SharedStore},
    telemetry::Stages,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tracing::Instrument;

pub use crate::signals::Stop;
use crate::{checkpoints::Checkpoints, outcome, signals::Signals};

/// How often a lease of 15 s is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// The first wait before a retry.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait before a retry.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What became of a finish that is sent only while it is current.
pub enum Finishing {
    /// The answer; `None` after a permanent error.
    Ended(Option<Finish>),
    /// The store did not answer in time. It may have ended the job all the same.
    Outdated(Box<Held>),
}

/// A job that this worker holds. [`Held::finish`], [`Held::release`] and [`Held::abandon`] settle it, and each
/// consumes it.
pub struct Held {
    store: SharedStore,
    lease: Lease,
    signals: Signals,
    keeper: JoinHandle<()>,
    stages: Stages,
    loss: Loss,
}

impl Held {
    /// Starts to renew a lease and to store the job's checkpoints. Passes on in `signals` what the store answers.
    pub fn new(
        store: SharedStore,
        lease: Lease,
        signals: Signals,
        checkpoints: &Checkpoints,
        work: Work,
        stages: Stages,
    ) -> Self {
        let loss = Loss { work, counted: Arc::default() };
        let keeper =
            keep(store.clone(), lease.clone(), signals.clone(), checkpoints.subscribe(), loss.clone());
        let keeper = tokio::spawn(keeper.in_current_span());
        Self { store, lease, signals, keeper, stages, loss }
    }

    /// Where the times of its stages go.
    pub(crate) fn stages(&self) -> &Stages {
        &self.stages
    }

    /// The lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Publishes a preview, without a retry: it would be out of date. A partial picture is published again until the
    /// store answers or the job stops, because no other one takes its place.
    pub async fn publish(&mut self, preview: &Preview) {
        let begun = std::time::Instant::now();
        self.try_publish(preview).await;
        self.stages.since(Stage::Publish, begun);
    }

    async fn try_publish(&mut self, preview: &Preview) {
        let mut backoff = Backoff::new("publish");
        loop {
            match self.store.publish(&mut self.lease, preview).await {
                Ok(hold) => return answered(hold, &self.signals, &self.loss),
                Err(error) if preview.partial.is_none() || error.is_permanent() => {
                    tracing::warn!(job_id = %self.lease.job.id, %error, "a preview could not be published");
                    return;
                }
                Err(error) => backoff.pause(&error).await,
            }
            if self.signals.is_stopped() {
                return;
            }
        }
    }

    /// Ends the job. Retries until the store answers, so that an outage loses no finished picture. `None` after a
    /// permanent error: the lease expires, and the next attempt decides.
    pub async fn finish(self, ending: &Ending) -> Option<Finish> {
        match self.finish_while(ending, || true).await {
            Finishing::Ended(finish) => finish,
            // It is always current.
            Finishing::Outdated(_) => None,
        }
    }

    /// The same, but `ending` is sent again only while it is current.
    pub async fn finish_while(mut self, ending: &Ending, is_current: impl Fn() -> bool) -> Finishing {
        let mut backoff = Backoff::new("finish");
        loop {
            match self.store.finish(&mut self.lease, ending).await {
                Ok(finish) => {
                    if finish == Finish::Lost {
                        self.loss.count();
                    }
                    outcome::of_finish(finish, ending.status());
                    return Finishing::Ended(Some(finish));
                }
                Err(error) if error.is_permanent() => {
                    return Finishing::Ended(self.give_up("finish", &error));
                }
                Err(error) => backoff.pause(&error).await,
            }
            if !is_current() {
                return Finishing::Outdated(Box::new(self));
            }
        }
    }

    /// Returns the job to the queue. `None` after a permanent error, as in [`Held::finish`].
    pub async fn release(self, release: &Release) -> Option<Released> {
        let mut backoff = Backoff::new("release");
        loop {
            match self.store.release(&self.lease, release).await {
                Ok(released) => {
                    if released == Released::Lost {
                        self.loss.count();
                    }
                    outcome::of_release(released, release);
                    return Some(released);
                }
                Err(error) if error.is_permanent() => return self.give_up("release", &error),
                Err(error) => backoff.pause(&error).await,
            }
        }
    }

    fn give_up<T>(&self, command: &'static str, error: &StoreError) -> Option<T> {
        tracing::error!(job_id = %self.lease.job.id, %error, "{command} failed permanently: the job's lease will expire, and the next attempt decides");
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

/// Renews the lease at each interval and at each checkpoint, until the job is lost or cancelled.
async fn keep(
    store: SharedStore,
    lease: Lease,
    signals: Signals,
    mut checkpoints: watch::Receiver<Option<Checkpoint>>,
    loss: Loss,
) {
    let mut next = Instant::now() + RENEW_EVERY;
    loop {
        let mut checkpoint = tokio::select! {
            biased;
            checkpoint = newest(&mut checkpoints) => Some(checkpoint),
            () = tokio::time::sleep_until(next) => None,
        };
        let mut backoff = Backoff::new("renew");
        let hold = loop {
            match store.renew(&lease, checkpoint.as_ref()).await {
                Ok(hold) => break hold,
                Err(error) if error.is_permanent() && checkpoint.is_none() => {
                    tracing::error!(job_id = %lease.job.id, %error, "the renewal failed permanently: the job is abandoned");
                    break Hold::Lost;
                }
                Err(error) => {
                    // Retry without the checkpoint: it is optional, and may be the cause of the timeout.
                    checkpoint = None;
                    backoff.pause(&error).await;
                }
            }
        };
        answered(hold, &signals, &loss);
        if !hold.is_held() {
            return;
        }
        next = Instant::now() + RENEW_EVERY;
    }
}

/// Waits for the next checkpoint.
async fn newest(checkpoints: &mut watch::Receiver<Option<Checkpoint>>) -> Checkpoint {
    loop {
        // No sender is left, so the pipeline has dropped the job: wait forever.
        if checkpoints.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(checkpoint) = checkpoints.borrow_and_update().clone() {
            return checkpoint;
        }
    }
}

/// Counts the loss of a job once, although several commands may learn of it.
#[derive(Clone)]
struct Loss {
    work: Work,
    counted: Arc<AtomicBool>,
}

impl Loss {
    fn count(&self) {
        if !self.counted.swap(true, Ordering::Relaxed) {
            self.work.lease_lost();
        }
    }
}

/// Passes on what the store answers.
fn answered(hold: Hold, signals: &Signals, loss: &Loss) {
    if hold == Hold::Lost {
        loss.count();
    }
    signals.answered(hold);
}

/// Logs a failed command and waits before its retry, longer each time.
pub(crate) struct Backoff {
    command: &'static str,
    waits: Waits,
}

impl Backoff {
    pub(crate) fn new(command: &'static str) -> Self {
        Self { command, waits: Waits::new(FIRST_WAIT, LONGEST_WAIT) }
    }

    pub(crate) async fn pause(&mut self, error: &StoreError) {
        tracing::warn!(%error, "{} failed; retrying", self.command);
        tokio::time::sleep(self.waits.next()).await;
    }
}
