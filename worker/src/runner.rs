//! The worker's loop: claim a job, have it made, report it, claim the next.

use std::{future::Future, sync::Arc, time::Duration};

use futures::StreamExt;
use glimpse_shared::{
    id::{App, JobId, WorkerId},
    job::WorkerState,
    needs::Capabilities,
    request::PreviewSource as Wanted,
    store::{Claim, Lease, SharedStore},
};
use tokio::sync::{oneshot, watch};

use crate::{
    checkpoints::Checkpoints,
    engine::{Engine, Made, Order},
    lease::{Held, Retry, Stop, halt},
    outbox::Outbox,
    pipeline::{Description, PipelineError, PreviewSource, Progress},
    registration::{self, Doing, StepsDone},
    reporter::{self, Settled},
    request::{self, LoraDir},
};

/// A loaded worker.
pub struct Worker {
    /// Where jobs come from and events go.
    pub store: SharedStore,
    /// Whose jobs it takes.
    pub app: App,
    /// Its name, unique per process start.
    pub id: WorkerId,
    /// The pipeline's thread.
    pub engine: Engine,
    /// What the pipeline offers.
    pub offers: Description,
    /// Where requests find LoRAs, if anywhere.
    pub loras: Option<LoraDir>,
    /// How often a long attempt leaves a checkpoint; 0 for never.
    pub checkpoint_every: Duration,
    /// How long a job at hand may go on after the worker is told to stop.
    pub drain_grace: Duration,
}

/// What the next claim says.
struct Asked {
    /// How many claims were answered.
    number: u64,
    /// What the pipeline has loaded for the job before: the next one like it costs no change.
    loaded: Option<String>,
    /// What this worker is capable of.
    capabilities: Capabilities,
}

/// How a worker came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Drained,
    /// Its device is broken: a supervisor should start it afresh.
    DeviceFault,
}

/// The job at hand and the means to stop it; `None` between jobs.
type Current = watch::Sender<Option<(JobId, watch::Sender<Option<Stop>>)>>;

impl Worker {
    /// Registers, calls `ready`, and works until `drain` is over or the device breaks.
    pub async fn run(self, ready: impl FnOnce(), drain: impl Future<Output = ()> + Send + 'static) -> Ended {
        // Before the first claim, so that no cancellation is missed while a job is at hand.
        let cancellations = self.store.cancellations(&self.app);
        let (current, at_hand) = watch::channel(None);
        let current: Arc<Current> = Arc::new(current);
        let (draining, drained) = watch::channel(false);
        let grace = tokio::spawn(drain_after(drain, draining, current.clone(), self.drain_grace));

        let record = registration::record(self.id.clone(), self.app.clone(), &self.offers);
        let mut early = drained.clone();
        tokio::select! {
            biased;
            // The store may be away for long; who is told to go meanwhile has nothing to finish.
            () = told(&mut early) => {
                grace.abort();
                return Ended::Drained;
            }
            () = registration::first(&self.store, &record) => {}
        }
        ready();
        tracing::info!(worker = %self.id, app = %self.app, device = %self.offers.device, "ready for jobs");

        let (doing, done) = watch::channel::<Doing>((WorkerState::Idle, None));
        let registered = tokio::spawn(registration::keep(self.store.clone(), record, done));
        let canceller = tokio::spawn(heed_cancellations(cancellations, at_hand));
        let ended = self.work(&doing, &current, drained).await;

        canceller.abort();
        grace.abort();
        drop(doing);
        // The last heartbeat, if the store is there to hear it.
        let _ = tokio::time::timeout(Duration::from_secs(2), registered).await;
        ended
    }

    async fn work(
        &self,
        doing: &watch::Sender<Doing>,
        current: &Current,
        drained: watch::Receiver<bool>,
    ) -> Ended {
        let record = registration::record(self.id.clone(), self.app.clone(), &self.offers);
        let mut asked = Asked { number: 0, loaded: None, capabilities: record.capabilities() };
        loop {
            doing.send_replace((state(&drained), None));
            let Some(lease) = self.claim(&mut asked, drained.clone()).await else { return Ended::Drained };
            let id = lease.job.id;
            asked.loaded.clone_from(&lease.job.affinity);
            let steps_done = StepsDone::default();
            doing.send_replace((WorkerState::Busy, Some(steps_done.clone())));
            tracing::info!(job = %id, attempt = lease.attempt, "job claimed");
            let (stop, stopped) = watch::channel(None);
            current.send_replace(Some((id, stop.clone())));
            let settled = self.make(lease, steps_done, stop, stopped).await;
            current.send_replace(None);
            match settled {
                Settled::Done => {}
                Settled::Stopped(done) => {
                    doing.send_replace((WorkerState::Busy, None));
                    if until_free(done, drained.clone()).await.is_err() {
                        return Ended::DeviceFault;
                    }
                }
                Settled::DeviceFault => return Ended::DeviceFault,
            }
        }
    }

    /// The next job; `None` once the worker drains. Claims first, then waits: a job that came before the wait
    /// is not slept past.
    async fn claim(&self, asked: &mut Asked, mut drained: watch::Receiver<bool>) -> Option<Lease> {
        let mut retry = Retry::new("claim");
        let mut unanswered = false;
        loop {
            // A claim without an answer may have got a job, which must not wait for its lease to run out: it is asked
            // about once more.
            let drains = *drained.borrow();
            if drains && !unanswered {
                break;
            }
            let claim = Claim {
                worker: self.id.clone(),
                app: self.app.clone(),
                affinity: asked.loaded.clone(),
                capabilities: asked.capabilities.clone(),
                number: asked.number,
            };
            match self.store.try_claim(&claim).await {
                Ok(lease) => {
                    // Answered: the next claim is another one.
                    asked.number += 1;
                    unanswered = false;
                    if lease.is_some() {
                        return lease;
                    }
                }
                Err(_) if drains => break,
                Err(error) => {
                    // Unanswered, perhaps done: the same number asks for the same lease. If that is what cannot be
                    // read, its job waits for the lease to run out, and the next number asks for another job.
                    unanswered = !error.is_permanent();
                    asked.number += u64::from(error.is_permanent());
                    retry.pause(&error).await;
                    continue;
                }
            }
            let woken = tokio::select! {
                biased;
                () = told(&mut drained) => break,
                woken = self.store.wait_for_work(&self.app, &asked.capabilities) => woken,
            };
            if let Err(error) = woken {
                retry.pause(&error).await;
            }
        }
        // A wake-up may have come in the same moment, or before a claim that was not answered; somebody else must
        // have it.
        if let Err(error) = self.store.wake(&self.app, &asked.capabilities).await {
            tracing::debug!(%error, "a wake-up was not passed on");
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
        let (asked, loras) = (spec.clone(), self.loras.clone());
        let checkpoints = Checkpoints::every(self.checkpoint_every);
        let source = match spec.preview_source() {
            Wanted::Latents => PreviewSource::Latents,
            Wanted::Denoised => PreviewSource::Denoised,
        };
        let order = Order {
            prepare: Box::new(move || request::inputs(&asked, loras.as_ref())),
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

/// The 0-based index of the step just done.
pub fn index(at: Progress) -> u32 {
    at.step.saturating_sub(1) as u32
}

fn state(drained: &watch::Receiver<bool>) -> WorkerState {
    if *drained.borrow() { WorkerState::Draining } else { WorkerState::Idle }
}

/// Waits until the pipeline has let go of a job that was stopped: what is claimed before would wait behind it, while
/// another worker may be free. A worker that drains claims nothing more and does not wait.
///
/// # Errors
/// If the device broke meanwhile.
async fn until_free(
    done: oneshot::Receiver<Result<Made, PipelineError>>,
    mut drained: watch::Receiver<bool>,
) -> Result<(), PipelineError> {
    tokio::select! {
        biased;
        () = told(&mut drained) => Ok(()),
        end = done => match end {
            Ok(Err(error @ PipelineError::Device { .. })) => {
                tracing::error!(%error, "the device broke while a job was stopped");
                Err(error)
            }
            // Nobody wants to know any more what became of it.
            Ok(_) | Err(_) => Ok(()),
        },
    }
}

/// Ends when the worker is told to drain.
async fn told(drained: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to tell it, which is an end as well.
    let _ = drained.wait_for(|drained| *drained).await;
}

/// Stops the job at hand when it is cancelled, within a step.
async fn heed_cancellations(
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

/// Once told to drain: no more claims, and after the grace the job at hand goes back.
async fn drain_after(
    drain: impl Future<Output = ()>,
    draining: watch::Sender<bool>,
    current: Arc<Current>,
    grace: Duration,
) {
    drain.await;
    tracing::info!("draining");
    draining.send_replace(true);
    tokio::time::sleep(grace).await;
    if let Some((_, stop)) = &*current.borrow() {
        halt(stop, Stop::Drain);
    }
    // A claim that was answered as the grace ended.
    let mut at_hand = current.subscribe();
    while at_hand.changed().await.is_ok() {
        if let Some((_, stop)) = &*at_hand.borrow_and_update() {
            halt(stop, Stop::Drain);
        }
    }
}
