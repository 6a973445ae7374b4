//! A scripted pipeline, and helpers that run a worker with it.

pub mod flaky;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use glimpse_shared::{
    event::{Event, Followed},
    id::{App, JobId, WorkerId},
    job::{Class, Job},
    metrics::Work,
    needs::Needs,
    request::{Defaults, ImageSpec, LoraSource, Offer, PreviewSource, Unknown},
    results::Results,
    store::{SharedStore, Submit},
};
use glimpse_worker::{
    engine::Engine,
    loras::Loras,
    pipeline::{
        self, Description, Inputs, Interrupt, Pipeline, PipelineError, PipelineWarning, Rgb, StepProgress,
    },
    runner::{Ended, Worker},
};
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

pub use glimpse_test_support::SOON;

/// Stops the pipeline's thread until a test lets it pass.
#[derive(Default)]
pub struct Gate {
    left: Mutex<usize>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    pub fn let_through(&self, steps: usize) {
        let mut left = self.left.lock().unwrap();
        *left = left.saturating_add(steps);
        self.opened.notify_all();
    }

    pub fn open(&self) {
        self.let_through(usize::MAX / 2);
    }

    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut left = self.left.lock().unwrap();
        while *left == 0 {
            left = self.opened.wait(left).unwrap();
        }
        *left -= 1;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether the thread waits at the gate.
    pub fn is_waited_at(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

/// What goes wrong with a job.
#[derive(Clone)]
pub enum Mishap {
    Refused,
    Fault,
    Panic,
    Device,
    /// The device breaks while the final pictures are decoded.
    DeviceAtTheEnd,
    /// The device has memory for half of the smallest picture.
    OutOfMemory,
    Truncated,
}

#[derive(Clone, Default)]
pub struct Script {
    pub gate: Arc<Gate>,
    pub mishaps: BTreeMap<&'static str, Mishap>,
    /// The gate before a job's first step, if any.
    pub preparing: Option<Arc<Gate>>,
    /// The gate before each final picture, if any.
    pub decoding: Option<Arc<Gate>>,
    /// Number of steps of all jobs.
    pub steps: Arc<AtomicUsize>,
    /// Whether the device ran out of memory.
    pub ran_out: Arc<AtomicBool>,
    /// Number of final pictures of all jobs.
    pub decoded: Arc<AtomicUsize>,
}

pub struct Scene {
    prompt: String,
    step: usize,
    steps: usize,
    pictures: usize,
}

impl Pipeline for Script {
    type Denoising = Scene;

    fn prepare(
        &self,
        inputs: &Inputs,
        checkpoint: Option<&[u8]>,
        interrupt: Interrupt<'_>,
    ) -> Result<Scene, PipelineError> {
        if let Some(gate) = &self.preparing {
            gate.pass();
            interrupt.check()?;
        }
        if let Some(Mishap::Refused) = self.mishaps.get(inputs.prompt.as_str()) {
            return Err(PipelineError::bad("width", "this model is square"));
        }
        Ok(Scene {
            prompt: inputs.prompt.clone(),
            step: checkpoint.and_then(|checkpoint| checkpoint.first().copied()).unwrap_or(0).into(),
            steps: inputs.num_inference_steps,
            pictures: inputs.num_images_per_prompt,
        })
    }

    fn warnings(&self, scene: &Scene) -> Vec<PipelineWarning> {
        match self.mishaps.get(scene.prompt.as_str()) {
            Some(Mishap::Truncated) => {
                vec![PipelineWarning::PromptTruncated { field: "prompt", by: [None, None] }]
            }
            _ => Vec::new(),
        }
    }

    fn checkpoint(&self, scene: &Scene) -> Result<Vec<u8>, PipelineError> {
        Ok(vec![scene.step as u8])
    }

    fn step_or_stop(&self, batch: &mut [&mut Scene], _interrupt: Interrupt<'_>) -> Result<(), PipelineError> {
        for scene in batch {
            self.gate.pass();
            match self.mishaps.get(scene.prompt.as_str()) {
                Some(Mishap::Fault) => {
                    return Err(PipelineError::Fault { message: "out of memory".to_owned() });
                }
                Some(Mishap::Panic) => panic!("a defect"),
                Some(Mishap::Device) => {
                    return Err(PipelineError::Device { message: "the device fell off the bus".to_owned() });
                }
                Some(Mishap::OutOfMemory) => {
                    self.ran_out.store(true, Ordering::SeqCst);
                    return Err(PipelineError::OutOfMemory { message: "16x8 is too much".to_owned() });
                }
                Some(Mishap::Refused | Mishap::DeviceAtTheEnd | Mishap::Truncated) | None => {}
            }
            scene.step += 1;
            self.steps.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn preview(&self, scene: &Scene, _: pipeline::PreviewKind) -> Result<Rgb, PipelineError> {
        Ok(grey(scene.step as u8))
    }

    fn pictures(&self, scene: Scene, interrupt: Interrupt<'_>) -> Result<Vec<Rgb>, PipelineError> {
        let mut pictures = Vec::new();
        for _ in 0..scene.pictures {
            interrupt.check()?;
            if let Some(gate) = &self.decoding {
                gate.pass();
            }
            if let Some(Mishap::DeviceAtTheEnd) = self.mishaps.get(scene.prompt.as_str()) {
                return Err(PipelineError::Device { message: "the device fell off the bus".to_owned() });
            }
            pictures.push(grey(255));
            self.decoded.fetch_add(1, Ordering::SeqCst);
        }
        Ok(pictures)
    }

    fn estimates(&self, scene: Scene, interrupt: Interrupt<'_>) -> Result<Vec<Rgb>, PipelineError> {
        interrupt.check()?;
        Ok(vec![grey(scene.step as u8); scene.pictures])
    }

    fn progress(&self, scene: &Scene) -> StepProgress {
        StepProgress { step: scene.step, steps: scene.steps }
    }

    fn describe(&self) -> Description {
        match self.ran_out.load(Ordering::SeqCst) {
            true => Description { max_pixels: 16 * 8 / 2, ..offers() },
            false => offers(),
        }
    }
}

fn offers() -> Description {
    Description {
        native_width: 16,
        native_height: 8,
        multiple: 8,
        max_pixels: 1 << 20,
        schedulers: vec!["EulerDiscreteScheduler".to_owned()],
        required: glimpse_worker::pipeline::RequiredInput::Nothing,
        refines: false,
        device: "script".to_owned(),
        identity: Default::default(),
    }
}

/// A picture of one grey.
pub fn grey(value: u8) -> Rgb {
    Rgb { width: 16, height: 8, data: vec![value; 16 * 8 * 3] }
}

pub fn app() -> App {
    "glimpse/demo".parse().unwrap()
}

/// Submits a job of 10 steps with previews after 0, 4 and 8.
pub async fn submit(store: &SharedStore, prompt: &str) -> JobId {
    submit_with(store, prompt, json!([])).await
}

/// As [`submit`], with these LoRAs.
pub async fn submit_with(store: &SharedStore, prompt: &str, loras: serde_json::Value) -> JobId {
    submit_job(store, job(prompt, loras)).await
}

/// Submits a job.
pub async fn submit_job(store: &SharedStore, job: Job) -> JobId {
    assert!(matches!(store.submit(&job).await.unwrap(), Submit::Submitted { .. }));
    job.id
}

/// The job of [`submit_with`].
pub fn job(prompt: &str, loras: serde_json::Value) -> Job {
    let offer = Offer {
        native_width: 16,
        native_height: 8,
        max_pixels: 1 << 20,
        schedulers: Default::default(),
        lora_sources: LoraSource::ALL.into(),
        controlnet_hub: true,
    };
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    let body = json!({ "prompt": prompt, "num_inference_steps": 10, "preview_every": 4, "seed": 9,
        "num_images": 2, "loras": loras });
    let spec = ImageSpec::check(body.as_object().unwrap().clone(), &offer, defaults).unwrap();
    Job {
        id: JobId::new(&app()),
        app: app(),
        tenant: glimpse_shared::job::ANONYMOUS.to_owned(),
        weight: Default::default(),
        class: Class::Normal,
        affinity: spec.affinity(),
        needs: Needs::of(&spec),
        spec,
        digest: String::new(),
        start_timeout: Duration::from_secs(3600),
        run_timeout: Duration::from_secs(3600),
        retry_of: None,
        webhook: None,
        traceparent: None,
    }
}

/// A running worker.
pub struct Running {
    pub ended: JoinHandle<Ended>,
    drain: Option<oneshot::Sender<()>>,
}

impl Running {
    pub fn drain(&mut self) {
        self.drain.take().unwrap().send(()).unwrap();
    }

    pub async fn end(self) -> Ended {
        tokio::time::timeout(SOON, self.ended).await.unwrap().unwrap()
    }
}

/// Starts a worker and waits until it is ready.
pub async fn start(store: &SharedStore, script: &Script, name: &str, drain_grace: Duration) -> Running {
    start_with(store, script, name, drain_grace, Duration::from_secs(5)).await
}

/// As [`start`], with this interval of checkpoints.
pub async fn start_with(
    store: &SharedStore,
    script: &Script,
    name: &str,
    drain_grace: Duration,
    checkpoint_every: Duration,
) -> Running {
    let (running, is_ready) = launch(store, script, name, drain_grace, checkpoint_every).await;
    tokio::time::timeout(SOON, is_ready).await.unwrap().unwrap();
    running
}

/// Starts a worker. The receiver gets a message when it is ready.
pub async fn launch(
    store: &SharedStore,
    script: &Script,
    name: &str,
    drain_grace: Duration,
    checkpoint_every: Duration,
) -> (Running, oneshot::Receiver<()>) {
    let script = script.clone();
    let (engine, _) = Engine::start(move || Ok::<_, std::io::Error>(script)).await.unwrap();
    run(store, engine, name, drain_grace, checkpoint_every)
}

/// Runs a worker with this engine. The receiver gets a message when it is ready.
pub fn run(
    store: &SharedStore,
    engine: Engine,
    name: &str,
    drain_grace: Duration,
    checkpoint_every: Duration,
) -> (Running, oneshot::Receiver<()>) {
    run_keeping(store, engine, name, drain_grace, checkpoint_every, (Loras::default(), None))
}

/// The same, with LoRAs and a place where finished pictures are kept.
pub fn run_keeping(
    store: &SharedStore,
    engine: Engine,
    name: &str,
    drain_grace: Duration,
    checkpoint_every: Duration,
    (loras, results): (Loras, Option<Results>),
) -> (Running, oneshot::Receiver<()>) {
    run_counting(store, engine, name, (drain_grace, checkpoint_every), (loras, results), Work::default())
}

/// The same, with the counts of its work.
pub fn run_counting(
    store: &SharedStore,
    engine: Engine,
    name: &str,
    (drain_grace, checkpoint_every): (Duration, Duration),
    (loras, results): (Loras, Option<Results>),
    work: Work,
) -> (Running, oneshot::Receiver<()>) {
    let worker =
        Worker { loras, results, checkpoint_every, drain_grace, work, ..plain_worker(store, engine, name) };
    run_worker(worker)
}

/// A worker with nothing but a pipeline.
pub fn plain_worker(store: &SharedStore, engine: Engine, name: &str) -> Worker {
    Worker {
        store: store.clone(),
        app: app(),
        id: WorkerId::new(name),
        engine,
        offers: offers(),
        loras: Loras::default(),
        controlnets: None,
        results: None,
        recipes: None,
        hook: None,
        checkpoint_every: Duration::ZERO,
        drain_grace: SOON,
        work: Work::default(),
    }
}

/// Runs a worker. The receiver gets a message when it is ready.
pub fn run_worker(worker: Worker) -> (Running, oneshot::Receiver<()>) {
    let (ready, is_ready) = oneshot::channel();
    let (drain, requested) = oneshot::channel();
    // A played worker's receiver is dropped: its orders say that it is ready.
    let ready = || {
        let _ = ready.send(());
    };
    let ended = tokio::spawn(worker.run(ready, async {
        if requested.await.is_err() {
            std::future::pending::<()>().await;
        }
    }));
    (Running { ended, drain: Some(drain) }, is_ready)
}

/// The next event of a job; panics if it does not come soon.
pub async fn next(stream: &mut BoxStream<'static, Followed>) -> Event {
    match tokio::time::timeout(SOON, stream.next()).await.expect("an event within the deadline") {
        Some(Followed::Frame(frame)) => frame.event().unwrap(),
        other => panic!("not an event: {other:?}"),
    }
}

/// All events of a job, until its end.
pub async fn all(store: &SharedStore, id: JobId) -> Vec<Event> {
    let mut stream = store.follow(id, None);
    let mut events = vec![next(&mut stream).await];
    while !events.last().unwrap().kind().is_terminal() {
        events.push(next(&mut stream).await);
    }
    events
}

/// Waits until `condition` is true; panics if that takes too long.
pub async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < SOON, "the condition did not become true in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
