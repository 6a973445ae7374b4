//! The pipeline's thread. It loads the model, owns all tensors and runs one job at a time. The rest of the worker sends
//! it messages.
//!
//! It is a thread and not a task: a step blocks, and a CUDA context belongs to the thread that created it.

use std::{
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use glimpse_shared::{metrics::Stage, store::Checkpoint, telemetry::Stages};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    checkpoints::Checkpoints,
    lease::Stop,
    outbox::{Outbox, RawPreview},
    pipeline::{
        Description, Inputs, Interrupt, Pipeline, PipelineError, PipelineWarning, PreviewKind, Rgb,
        StepProgress,
    },
};

/// A job for the thread.
pub struct Order {
    /// Returns the pipeline's inputs. Called on the pipeline's thread, because it decodes pictures.
    pub prepare: Prepare,
    /// The checkpoint of an earlier attempt, to resume from.
    pub resume: Option<Checkpoint>,
    /// The slot for the checkpoints of this attempt.
    pub checkpoints: Checkpoints,
    /// Called at most once: before the last step, or before the pictures are decoded if no step is left.
    pub last_step: Box<dyn FnOnce() + Send>,
    /// Called after each step. Returns the kind of preview to make, if one is due.
    pub observer: StepObserver,
    /// Set when the job must stop. Checked between steps, and between the parts of other long work.
    pub stop: watch::Receiver<Option<Stop>>,
    /// Set when the job should finish early: after the first step from this one on, counted from 0.
    pub finish_early: watch::Receiver<Option<u32>>,
    /// The queue for previews.
    pub outbox: Arc<Outbox>,
    /// Where the times of the stages go.
    pub stages: Stages,
    /// Receives the result. Dropped without a value if the job was stopped, or if the device was lost before it began.
    /// In all cases the thread is done with the job.
    pub done: oneshot::Sender<Result<Made, PipelineError>>,
}

/// See [`Order::prepare`].
pub type Prepare = Box<dyn FnOnce() -> Result<Inputs, PipelineError> + Send>;

/// See [`Order::observer`].
pub type StepObserver = Box<dyn FnMut(StepProgress) -> Option<PreviewKind> + Send>;

/// Finished pictures.
#[derive(Debug)]
pub struct Made {
    /// One per picture of the job.
    pub pictures: Vec<Rgb>,
    /// The last step that was made, counted from 0, if the job finished early.
    pub finished_at_step: Option<u32>,
    /// Time spent on denoising, previews included.
    pub inference: Duration,
    /// Time spent on decoding the final pictures.
    pub decode: Duration,
    /// The parts of the request that had no effect.
    pub warnings: Vec<PipelineWarning>,
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The model cannot be loaded.
    #[error("{0}")]
    Load(String),
    /// The operating system could not create the thread.
    #[error("cannot start the pipeline's thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The load panicked, which is a bug.
    #[error("the pipeline's thread died while loading")]
    Died,
}

/// A handle to the thread; dropping it ends the thread after the current job.
#[derive(Clone)]
pub struct Engine {
    orders: mpsc::UnboundedSender<Order>,
    max_pixels: watch::Receiver<u64>,
}

impl Engine {
    /// Starts the thread and loads the model on it.
    ///
    /// # Errors
    /// If `load` fails or the thread cannot be created.
    pub async fn start<P, E>(
        load: impl FnOnce() -> Result<P, E> + Send + 'static,
    ) -> Result<(Self, Description), StartError>
    where
        P: Pipeline,
        E: Display,
    {
        let (orders, mut waiting) = mpsc::unbounded_channel();
        let (loaded, description) = oneshot::channel();
        let (most, max_pixels) = watch::channel(u64::MAX);
        thread::Builder::new().name("pipeline".to_owned()).spawn(move || match load() {
            Ok(pipeline) => {
                // If the caller is gone, `waiting` has no sender and the thread ends.
                let _ = loaded.send(Ok(pipeline.describe()));
                let mut usable = true;
                while let Some(order) = waiting.blocking_recv() {
                    // After the device is lost, waiting orders are dropped, not begun: they did not cause the fault.
                    usable = usable && serve(&pipeline, order, &most);
                }
            }
            Err(error) => drop(loaded.send(Err(StartError::Load(error.to_string())))),
        })?;
        let description = description.await.unwrap_or(Err(StartError::Died))?;
        Ok((Self { orders, max_pixels }, description))
    }

    /// An engine for simulations: the receiver of `orders` serves them.
    pub fn from_orders(orders: mpsc::UnboundedSender<Order>) -> Self {
        Self { orders, max_pixels: watch::channel(u64::MAX).1 }
    }

    /// The largest picture that the pipeline could make after its newest job, in pixels; `u64::MAX` before the first.
    /// The pipeline lowers this limit when the device runs out of memory.
    pub fn max_pixels(&self) -> u64 {
        *self.max_pixels.borrow()
    }

    /// Sends an order. If the thread is gone, `done` is dropped, and its receiver gets an error.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

/// Runs one job. A panic ends the job, not the thread. Returns whether the device is still usable.
fn serve<P: Pipeline>(pipeline: &P, order: Order, most: &watch::Sender<u64>) -> bool {
    let Order { prepare, resume, checkpoints, last_step, observer, stop, finish_early, outbox, stages, done } =
        order;
    let stopped = || stop.borrow().is_some();
    let interrupt = Interrupt::when(&stopped);
    // The lines of the log name the job.
    let _attempt = stages.enter();
    // The state that a panic may leave half changed is created again for each job.
    let made = catch_unwind(AssertUnwindSafe(|| {
        interrupt.check()?;
        let begun = Instant::now();
        let inputs = prepare()?;
        interrupt.check()?;
        let checkpoint = resume.as_ref().map(|checkpoint| &checkpoint.bytes()[..]);
        let denoising = pipeline.prepare(&inputs, checkpoint, interrupt)?;
        if let Some(time) = pipeline.text_time(&denoising) {
            stages.during(Stage::Text, time);
        }
        let at = InFlight {
            pipeline,
            interrupt,
            finish_early: &finish_early,
            outbox: &outbox,
            stages: &stages,
            checkpoints: &checkpoints,
            begun,
        };
        at.make(denoising, last_step, observer)
    }));
    let made = made.unwrap_or_else(|panic| Err(PipelineError::of_device(message(&*panic))));
    let usable = !matches!(made, Err(PipelineError::Device { .. }));
    // Before the result: if the job was too large for this worker, it must not claim the job again.
    most.send_replace(pipeline.describe().max_pixels);
    if !matches!(made, Err(PipelineError::Interrupted)) {
        // The receiver may be gone: the job may be queued again already.
        let _ = done.send(made);
    }
    usable
}

/// What a running job needs between steps.
struct InFlight<'a, P> {
    pipeline: &'a P,
    interrupt: Interrupt<'a>,
    finish_early: &'a watch::Receiver<Option<u32>>,
    outbox: &'a Outbox,
    stages: &'a Stages,
    checkpoints: &'a Checkpoints,
    begun: Instant,
}

impl<P: Pipeline> InFlight<'_, P> {
    fn make(
        &self,
        mut denoising: P::Denoising,
        last_step: Box<dyn FnOnce() + Send>,
        mut observer: StepObserver,
    ) -> Result<Made, PipelineError> {
        let warnings = self.pipeline.warnings(&denoising);
        let mut last_step = Some(last_step);
        let mut due = self.checkpoints.next(self.begun);
        let mut finished_at_step = None;
        loop {
            self.interrupt.check()?;
            let at = self.pipeline.progress(&denoising);
            if at.step + 1 >= at.steps
                && let Some(begins) = last_step.take()
            {
                begins();
            }
            if at.is_done() {
                break;
            }
            let stepping = Instant::now();
            self.pipeline.step_or_stop(&mut [&mut denoising], self.interrupt)?;
            self.stages.step(at.step as u32, stepping);
            self.interrupt.check()?;
            if let Some(source) = observer(self.pipeline.progress(&denoising)) {
                let previewing = Instant::now();
                let picture = self.pipeline.preview(&denoising, source)?;
                self.stages.since(Stage::Preview, previewing);
                self.outbox.put(RawPreview { step: at.step as u32, steps: at.steps as u32, picture });
            }
            if self.finishes_after(at, &self.pipeline.progress(&denoising)) {
                finished_at_step = Some(at.step as u32);
                last_step.take().into_iter().for_each(|begins| begins());
                break;
            }
            // After the preview, so that a checkpoint is never ahead of a partial picture.
            if due.is_some_and(|due| due <= Instant::now()) && !self.outbox.owes_partial() {
                self.checkpoints.put(self.pipeline.checkpoint(&denoising)?);
                due = self.checkpoints.next(Instant::now());
            }
        }
        self.stages.denoised();
        let denoised = Instant::now();
        let pictures = match finished_at_step {
            Some(_) => self.pipeline.estimates(denoising, self.interrupt)?,
            None => self.pipeline.pictures(denoising, self.interrupt)?,
        };
        let decoded = Instant::now();
        self.stages.during(Stage::Decode, denoised..decoded);
        let (inference, decode) = (denoised - self.begun, decoded - denoised);
        Ok(Made { pictures, finished_at_step, inference, decode, warnings })
    }

    /// Whether the job finishes early after a step. After the last one it ends as usual.
    fn finishes_after(&self, step: StepProgress, now: &StepProgress) -> bool {
        let wanted = *self.finish_early.borrow();
        wanted.is_some_and(|wanted| wanted as usize <= step.step) && !now.is_done()
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.as_deref().unwrap_or("of unknown cause"))
}
