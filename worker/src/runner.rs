//! The worker's loop: claim a job, run it, report its end.

use std::{future::Future, sync::Arc, time::Duration};

use futures::StreamExt;
use glimpse_shared::{
    id::{App, JobId, WorkerId},
    job::WorkerState,
    needs::Capabilities,
    request::PreviewSource,
    store::{Claim, Lease, SharedStore},
};
use tokio::sync::{oneshot, watch};

use crate::{
    checkpoints::Checkpoints,
    engine::{Engine, Made, Order},
    lease::{Backoff, Held, Stop, halt},
    outbox::Outbox,
    pipeline::{Description, PipelineError, PreviewKind, StepProgress},
    registration::{self, Activity, StepsDone},
    reporter::{self, Settled},
    request::{self, LoraDir},
};

/// A loaded worker.
pub struct Worker {
    /// The store.
    pub store: SharedStore,
    /// The app whose jobs it claims.
    pub app: App,
    /// Its id, unique per process start.
    pub id: WorkerId,
    /// The pipeline's thread.
    pub engine: Engine,
    /// What the pipeline can do.
    pub offers: Description,
    /// The folder of LoRAs, if any.
    pub loras: Option<LoraDir>,
    /// The interval of checkpoints; 0 for none.
    pub checkpoint_every: Duration,
    /// How long the current job may continue after the drain has started.
    pub drain_grace: Duration,
}

/// The arguments of the next claim.
struct NextClaim {
    /// Number of claims that the store has answered.
    number: u64,
    /// The LoRAs that the pipeline has loaded for the previous job. A job with the same affinity needs no load.
    loaded: Option<String>,
    /// What this worker can do.
    capabilities: Capabilities,
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has drained.
    Drained,
    /// Its device is unusable. A supervisor should restart it.
    DeviceFault,
}

/// The current job and the sender that stops it; `None` between jobs.
type Current = watch::Sender<Option<(JobId, watch::Sender<Option<Stop>>)>>;

impl Worker {
    /// Registers, calls `ready`, and runs jobs until `drain` resolves or the device fails.
    pub async fn run(self, ready: impl FnOnce(), drain: impl Future<Output = ()> + Send + 'static) -> Ended {
        // Subscribed before the first claim, so that no cancellation is missed.
        let cancellations = self.store.cancellations(&self.app);
        let (current, at_hand) = watch::channel(None);
        let current: Arc<Current> = Arc::new(current);
        let (draining, drained) = watch::channel(false);
        let grace = tokio::spawn(drain_after(drain, draining, current.clone(), self.drain_grace));

        let record = registration::record(self.id.clone(), self.app.clone(), &self.offers);
        let mut early = drained.clone();
        tokio::select! {
            biased;
            // The store may be unavailable for a long time. A drain before the registration has no job to finish.
            () = drain_requested(&mut early) => {
                grace.abort();
                return Ended::Drained;
            }
            () = registration::first(&self.store, &record) => {}
        }
        ready();
        tracing::info!(worker = %self.id, app = %self.app, device = %self.offers.device, "ready for jobs");

        let (activity, done) = watch::channel::<Activity>((WorkerState::Idle, None));
        let registered = tokio::spawn(registration::send_heartbeats(self.store.clone(), record, done));
        let canceller = tokio::spawn(stop_on_cancel(cancellations, at_hand));
        let ended = self.work(&activity, &current, drained).await;

        canceller.abort();
        grace.abort();
        drop(activity);
        // The last heartbeat, if the store is available.
        let _ = tokio::time::timeout(Duration::from_secs(2), registered).await;
        ended
    }

    async fn work(
        &self,
        activity: &watch::Sender<Activity>,
        current: &Current,
        drained: watch::Receiver<bool>,
    ) -> Ended {
        let record = registration::record(self.id.clone(), self.app.clone(), &self.offers);
        let mut next_claim = NextClaim { number: 0, loaded: None, capabilities: record.capabilities() };
        loop {
            activity.send_replace((state(&drained), None));
            let Some(lease) = self.claim(&mut next_claim, drained.clone()).await else {
                return Ended::Drained;
            };
            let id = lease.job.id;
            next_claim.loaded.clone_from(&lease.job.affinity);
            let steps_done = StepsDone::default();
            activity.send_replace((WorkerState::Busy, Some(steps_done.clone())));
            tracing::info!(job = %id, attempt = lease.attempt, "job claimed");
            let (stop, stopped) = watch::channel(None);
            current.send_replace(Some((id, stop.clone())));
            let settled = self.make(lease, steps_done, stop, stopped).await;
            current.send_replace(None);
            match settled {
                Settled::Done => {}
                Settled::Stopped(done) => {
                    activity.send_replace((WorkerState::Busy, None));
                    if until_free(done, drained.clone()).await.is_err() {
                        return Ended::DeviceFault;
                    }
                }
                Settled::DeviceFault => return Ended::DeviceFault,
            }
        }
    }

    /// The next job; `None` when the worker drains. Claims first and then waits, so that a job which is already queued
    /// is not missed.
    async fn claim(&self, next_claim: &mut NextClaim, mut drained: watch::Receiver<bool>) -> Option<Lease> {
        let mut backoff = Backoff::new("claim");
        let mut unanswered = false;
        loop {
            // A claim without an answer may have a job. It is repeated once, so that the job does not wait until its
            // lease expires.
            let drains = *drained.borrow();
            if drains && !unanswered {
                break;
            }
            let claim = Claim {
                worker: self.id.clone(),
                app: self.app.clone(),
                affinity: next_claim.loaded.clone(),
                capabilities: next_claim.capabilities.clone(),
                number: next_claim.number,
            };
            match self.store.try_claim(&claim).await {
                Ok(lease) => {
                    // Answered: the next claim is a new one.
                    next_claim.number += 1;
                    unanswered = false;
                    if lease.is_some() {
                        return lease;
                    }
                }
                Err(_) if drains => break,
                Err(error) => {
                    // The store may have executed the claim: the same number returns the same lease. After a permanent
                    // error that lease cannot be read: it expires, and the next number claims another job.
                    unanswered = !error.is_permanent();
                    next_claim.number += u64::from(error.is_permanent());
                    backoff.pause(&error).await;
                    continue;
                }
            }
            let woken = tokio::select! {
                biased;
                () = drain_requested(&mut drained) => break,
                woken = self.store.wait_for_work(&self.app, &next_claim.capabilities) => woken,
            };
            if let Err(error) = woken {
                backoff.pause(&error).await;
            }
        }
        // This worker may have received a wake-up that it does not use: pass it on to another worker.
        if let Err(error) = self.store.wake(&self.app, &next_claim.capabilities).await {
            tracing::debug!(%error, "a wake-up could not be passed on to another worker");
        }
        None
    }

    async fn make(
        &self,
        lease: Lease,
        steps_done: StepsDone,
        stop: watch::Sender<Option<Stop>>,
        stopped: watch::Receiver<Option<Stop>>,
    ) -> Settled {
        let outbox = Arc::new(Outbox::default());
        let (done, end) = oneshot::channel();
        let spec = lease.job.spec.clone();
        let (next_claim, loras) = (spec.clone(), self.loras.clone());
        let checkpoints = Checkpoints::every(self.checkpoint_every);
        let source = match spec.preview_source() {
            PreviewSource::Latents => PreviewKind::Latents,
            PreviewSource::Denoised => PreviewKind::Denoised,
        };
        let order = Order {
            prepare: Box::new(move || request::inputs(&next_claim, loras.as_ref())),
            resume: lease.checkpoint.clone(),
            checkpoints: checkpoints.clone(),
            observer: Box::new(move |at| {
                steps_done.set(at);
                spec.has_preview_after(index(at)).then_some(source)
            }),
            stop: stopped.clone(),
            outbox: outbox.clone(),
            done,
        };
        let held = Held::new(self.store.clone(), lease, stop, &checkpoints);
        self.engine.order(order);
        reporter::report(held, outbox, stopped, end).await
    }
}

/// 0-based index of the newest step.
pub fn index(at: StepProgress) -> u32 {
    at.step.saturating_sub(1) as u32
}

fn state(drained: &watch::Receiver<bool>) -> WorkerState {
    if *drained.borrow() { WorkerState::Draining } else { WorkerState::Idle }
}

/// Waits until the pipeline has dropped a stopped job. A job that is claimed earlier would wait behind it, although
/// another worker may be free. A draining worker claims no more jobs and does not wait.
///
/// # Errors
/// If the device failed meanwhile.
async fn until_free(
    done: oneshot::Receiver<Result<Made, PipelineError>>,
    mut drained: watch::Receiver<bool>,
) -> Result<(), PipelineError> {
    tokio::select! {
        biased;
        () = drain_requested(&mut drained) => Ok(()),
        end = done => match end {
            Ok(Err(error @ PipelineError::Device { .. })) => {
                tracing::error!(%error, "the device failed while a job was stopped: this worker ends");
                Err(error)
            }
            // The result of a stopped job is not used.
            Ok(_) | Err(_) => Ok(()),
        },
    }
}

/// Returns when the worker must drain.
async fn drain_requested(drained: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: the worker ends too.
    let _ = drained.wait_for(|drained| *drained).await;
}

/// Stops the current job when it is cancelled.
async fn stop_on_cancel(
    mut cancellations: futures::stream::BoxStream<'static, JobId>,
    at_hand: watch::Receiver<Option<(JobId, watch::Sender<Option<Stop>>)>>,
) {
    while let Some(cancelled) = cancellations.next().await {
        if let Some((id, stop)) = &*at_hand.borrow()
            && *id == cancelled
        {
            halt(stop, Stop::Cancelled);
        }
    }
}

/// Waits for the request to drain, then ends the claims. After the grace period the current job is stopped.
async fn drain_after(
    drain: impl Future<Output = ()>,
    draining: watch::Sender<bool>,
    current: Arc<Current>,
    grace: Duration,
) {
    drain.await;
    let grace_s = grace.as_secs();
    tracing::info!(grace_s, "draining: the current job may finish; a second signal ends the process at once");
    draining.send_replace(true);
    tokio::time::sleep(grace).await;
    if let Some((_, stop)) = &*current.borrow() {
        halt(stop, Stop::Drain);
    }
    // A claim may be answered after the grace period: stop that job too.
    let mut at_hand = current.subscribe();
    while at_hand.changed().await.is_ok() {
        if let Some((_, stop)) = &*at_hand.borrow_and_update() {
            halt(stop, Stop::Drain);
        }
    }
}
