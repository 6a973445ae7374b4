//! The worker's loop: claims jobs, runs them one after the other, and reports the end of each while the next one runs.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use glimpse_shared::{
    id::{App, JobId, WorkerId},
    metrics::Work,
    request::PreviewSource,
    results::Results,
    store::{Lease, SharedStore},
    telemetry::{self, Stages},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tracing::{Instrument, Span};

use crate::{
    checkpoints::Checkpoints,
    claim::Claims,
    controlnet_dir::ControlNetDir,
    engine::{Engine, Made, Order},
    in_hand::{InHand, Seat, Stage, State},
    lease::Held,
    loras::{Downloaded, LoraError, Loras},
    outbox::Outbox,
    picture_hook::PictureHook,
    pipeline::{Description, PipelineError, PreviewKind, StepProgress},
    recipes::{JobRecipe, Recipes},
    registration,
    reporter::{self, End, Finishing},
    request,
    signals::{Signals, Stop},
};

pub use crate::in_hand::Ended;

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
    /// From where it loads LoRAs.
    pub loras: Loras,
    /// Where it finds ControlNets; `None`: it has none.
    pub controlnets: Option<ControlNetDir>,
    /// Where finished pictures are kept; `None`: inside the events.
    pub results: Option<Results>,
    /// The recipes of its pictures; `None`: they carry none, and the fleet does not learn its model's name.
    pub recipes: Option<Arc<Recipes>>,
    /// Who is asked about finished pictures; `None`: nobody.
    pub hook: Option<PictureHook>,
    /// The interval of checkpoints; 0 for none.
    pub checkpoint_every: Duration,
    /// How long the current job may continue after the drain has started.
    pub drain_grace: Duration,
    /// Where its work is counted.
    pub work: Work,
}

impl Worker {
    /// Registers, calls `ready`, and runs jobs until `drain` resolves or the device fails.
    pub async fn run(self, ready: impl FnOnce(), drain: impl Future<Output = ()> + Send + 'static) -> Ended {
        // Subscribed before the first claim, so that no cancellation is missed.
        let cancellations = self.store.cancellations(&self.app);
        let early_finishes = self.store.early_finishes(&self.app);
        let in_hand = InHand::default();
        let grace = tokio::spawn(drain_after(drain, in_hand.clone(), self.drain_grace));

        let (loras, controlnets) = (&self.loras, self.controlnets.as_ref());
        let (id, app, results) = (self.id.clone(), self.app.clone(), self.results.as_ref());
        let mut record = registration::record(id, app, &self.offers, loras, controlnets, results);
        record.model = self.recipes.as_deref().map(Recipes::model);
        tokio::select! {
            biased;
            // The store may be unavailable for a long time. A drain before the registration has no job to finish.
            () = in_hand.until(State::is_ending) => {
                grace.abort();
                return Ended::Drained;
            }
            () = registration::first(&self.store, &record) => {}
        }
        ready();
        tracing::info!(worker = %self.id, app = %self.app, device = %self.offers.device, "ready for jobs");

        let claims = Claims::new(self.store.clone(), self.engine.clone(), record.clone());
        let (store, engine) = (self.store.clone(), self.engine.clone());
        let heartbeats =
            registration::send_heartbeats(store, engine, record, in_hand.clone(), self.recipes.clone());
        let registered = tokio::spawn(heartbeats);
        let canceller = tokio::spawn(stop_on_cancel(cancellations, in_hand.clone()));
        let finisher = tokio::spawn(finish_when_asked(early_finishes, in_hand.clone()));
        self.run_jobs(claims, &in_hand).await;

        canceller.abort();
        finisher.abort();
        grace.abort();
        in_hand.close();
        // The last heartbeat, if the store is available.
        let _ = tokio::time::timeout(Duration::from_secs(2), registered).await;
        in_hand.ending().unwrap_or(Ended::Drained)
    }

    /// Runs jobs until the worker ends and all its jobs are settled.
    async fn run_jobs(&self, mut claims: Claims, in_hand: &InHand) {
        let mut jobs = JoinSet::new();
        while let Some(lease) = claims.next(in_hand).await {
            let attempt = telemetry::attempt(&lease.job, lease.attempt, &self.id);
            let job = attempt.in_scope(|| {
                tracing::info!(job_id = %lease.job.id, attempt = lease.attempt, "job claimed");
                self.start(lease, in_hand)
            });
            let ended = attempt.clone();
            let job = async move {
                job.await;
                telemetry::end(&ended);
            };
            jobs.spawn(job.instrument(attempt));
            while let Some(ended) = jobs.try_join_next() {
                note_panic(ended);
            }
        }
        while let Some(ended) = jobs.join_next().await {
            note_panic(ended);
        }
    }

    /// Orders a job from the pipeline, as soon as its LoRAs are downloaded. The future resolves when the job is settled
    /// and the pipeline is done with it. Call it in the span of the attempt, and poll the future there.
    ///
    /// No other job is claimed behind one that waits for a download, so that the orders come in the order of the claims.
    fn start(&self, lease: Lease, in_hand: &InHand) -> impl Future<Output = ()> + Send + 'static {
        let asked = lease.finish_early.into_iter().chain(lease.job.spec.finish_at_step());
        let signals = Signals::new(asked.min());
        let (stopped, finish_early) = (signals.stopped(), signals.finishes_early());
        let seat = in_hand.take(lease.job.id, signals.clone());
        let outbox = Arc::new(Outbox::new(lease.job.spec.partials()));
        let (done, end) = oneshot::channel();
        let spec = lease.job.spec.clone();
        let download = self.loras.download(&spec, self.controlnets.as_ref());
        let (asked, folder, controlnets) = (spec.clone(), self.loras.clone(), self.controlnets.clone());
        let checkpoints = Checkpoints::every(self.checkpoint_every);
        let source = match spec.preview_source() {
            PreviewSource::Latents => PreviewKind::Latents,
            PreviewSource::Denoised => PreviewKind::Denoised,
        };
        let (begins, nears_its_end, steps_done) = (seat.mark(), seat.mark(), seat.steps_done());
        let (resume, subscribed, messages) = (lease.checkpoint.clone(), checkpoints.clone(), outbox.clone());
        let stops = stopped.clone();
        let (steps, stages) = (self.work.clone(), Stages::of(self.work.stages.clone(), Span::current()));
        let (of_order, ended) = (stages.clone(), stages.clone());
        let shows = self.hook.as_ref().is_none_or(PictureHook::shows_previews);
        let recipe = self.recipes.as_ref().and_then(|recipes| JobRecipe::new(recipes, &spec));
        let recipe_of_inputs = recipe.clone();
        let order = move |loras: Arc<Downloaded>| Order {
            prepare: Box::new(move || {
                begins.reach(Stage::Running);
                let inputs = request::inputs(&asked, &folder, &loras, controlnets.as_ref())?;
                recipe_of_inputs.iter().for_each(|recipe| recipe.begin(&inputs.loras));
                Ok(inputs)
            }),
            resume,
            checkpoints: subscribed,
            last_step: Box::new(move || nears_its_end.reach(Stage::LastStep)),
            observer: Box::new(move |at| {
                steps_done.set(at);
                steps.step();
                let is_partial = spec.partials().index_after(index(at), at.steps as u32).is_some();
                (shows && (is_partial || spec.has_preview_after(index(at)))).then_some(source)
            }),
            stop: stops,
            finish_early,
            outbox: messages,
            stages: of_order,
            done,
        };
        // Renewed from now on, also while the pipeline works on the job before it.
        let held = Held::new(self.store.clone(), lease, signals, &checkpoints, self.work.clone(), stages);
        let (engine, in_hand) = (self.engine.clone(), in_hand.clone());
        let mut job = Started {
            held,
            outbox,
            stopped,
            done: end,
            results: self.results.clone(),
            recipe,
            hook: self.hook.clone(),
            loras: Arc::default(),
        };
        let ahead = match download {
            Some(download) => Some((download, order)),
            None => {
                engine.order(order(Arc::default()));
                None
            }
        };
        async move {
            if let Some((download, order)) = ahead {
                let download = download.instrument(telemetry::call("download", None));
                match downloaded(download, &mut job.stopped, &in_hand).await {
                    Ok(Ok(loras)) => {
                        job.loras = Arc::new(loras);
                        engine.order(order(job.loras.clone()));
                    }
                    Ok(Err(error)) => {
                        let Started { held, outbox, mut stopped, .. } = job;
                        let (end, nothing) = (
                            End::Failed(error.into()),
                            Finishing { hook: None, results: None, recipe: None },
                        );
                        return reporter::settle(held, &outbox, end, false, nothing, &mut stopped).await;
                    }
                    Err(reason) => return reporter::stopped(job.held, reason).await,
                }
            }
            see_through(job, seat, in_hand).await;
            ended.denoised();
        }
    }
}

/// 0-based index of the newest step.
pub fn index(at: StepProgress) -> u32 {
    at.step.saturating_sub(1) as u32
}

/// A job that the pipeline was asked for.
struct Started {
    held: Held,
    outbox: Arc<Outbox>,
    stopped: watch::Receiver<Option<Stop>>,
    done: oneshot::Receiver<Result<Made, PipelineError>>,
    results: Option<Results>,
    recipe: Option<JobRecipe>,
    hook: Option<PictureHook>,
    /// The files stay while the pipeline may read them.
    loras: Arc<Downloaded>,
}

/// Waits for the download of a job's LoRAs.
///
/// # Errors
/// The reason to stop. A worker that ends does not wait for a download: another worker may have the files already.
async fn downloaded(
    download: impl Future<Output = Result<Downloaded, LoraError>>,
    stop: &mut watch::Receiver<Option<Stop>>,
    in_hand: &InHand,
) -> Result<Result<Downloaded, LoraError>, Stop> {
    tokio::select! {
        biased;
        Some(reason) = reporter::halted(stop) => Err(reason),
        () = in_hand.until(State::is_ending) => Err(Stop::Drain),
        loras = download => Ok(loras),
    }
}

/// Reports a job until it is settled and the pipeline is done with it.
async fn see_through(job: Started, seat: Seat, in_hand: InHand) {
    let Started { mut held, outbox, mut stopped, mut done, results, recipe, hook, loras: _loras } = job;
    match reporter::previews(&mut held, &outbox, &mut stopped, &mut done).await {
        Ok(end) => {
            if end.is_device_fault() {
                in_hand.end(Ended::DeviceFault);
            }
            // From here on the next job may be claimed. A failed job is returned to the queue before that.
            if let End::Made(_) = end {
                seat.made();
            }
            let finishing =
                Finishing { hook: hook.as_ref(), results: results.as_ref(), recipe: recipe.as_ref() };
            reporter::settle(held, &outbox, end, seat.has_begun(), finishing, &mut stopped).await;
        }
        Err(reason) => {
            reporter::stopped(held, reason).await;
            if seat.has_begun() {
                seat.settled();
                until_dropped(done, &in_hand).await;
            }
        }
    }
}

/// Waits until the pipeline has dropped a stopped job. A job that is claimed earlier would wait behind it, although
/// another worker may be free. A worker that ends claims no more jobs and does not wait.
async fn until_dropped(done: oneshot::Receiver<Result<Made, PipelineError>>, in_hand: &InHand) {
    tokio::select! {
        biased;
        () = in_hand.until(State::is_ending) => {}
        // The result of a stopped job is not used.
        end = done => if let Ok(Err(error @ PipelineError::Device { .. })) = end {
            tracing::error!(%error, "the device failed while a job was stopped: this worker ends");
            in_hand.end(Ended::DeviceFault);
        }
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task that reports a job panicked: the job's lease will expire, and the job is tried again");
    }
}

/// Stops a job in hand when it is cancelled.
async fn stop_on_cancel(mut cancellations: BoxStream<'static, JobId>, in_hand: InHand) {
    while let Some(cancelled) = cancellations.next().await {
        in_hand.cancel(cancelled);
    }
}

/// Finishes a job in hand early when somebody asks for it.
async fn finish_when_asked(mut asked: BoxStream<'static, (JobId, u32)>, in_hand: InHand) {
    while let Some((id, at)) = asked.next().await {
        in_hand.finish_early(id, at);
    }
}

/// Waits for the request to drain, then ends the claims. After the grace period the current job is stopped.
async fn drain_after(drain: impl Future<Output = ()>, in_hand: InHand, grace: Duration) {
    drain.await;
    let grace_s = grace.as_secs();
    tracing::info!(grace_s, "draining: the current job may finish; a second signal ends the process at once");
    in_hand.end(Ended::Drained);
    tokio::time::sleep(grace).await;
    in_hand.end_grace();
}
