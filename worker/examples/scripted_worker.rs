//! A worker with a scripted pipeline instead of a model. Apart from the pictures it behaves as `glimpse-worker`, so
//! that `tests/chaos` can kill, freeze and drain many of them.
//!
//! The prompt is the script: words of the form `KEY=NUMBER`. `pace=20`: the milliseconds per step. `fault=3`,
//! `panic=3`, `device=3`: the error of that step (0-based). `refused=0`: a request that this model cannot serve.
//! Pictures depend on the seed and on every step, so a resume from a wrong checkpoint gives another picture.

use std::{panic::resume_unwind, process::ExitCode, sync::Arc, thread, time::Duration};

use clap::Parser;
use glimpse_shared::{
    id::WorkerId,
    reaper,
    shutdown::{self, Shutdown},
    store::{
        Clock, Rules, SharedStore,
        redis::{RedisConfig, RedisStore},
    },
    telemetry::{self, LogConfig},
};
use glimpse_worker::{
    config::FleetConfig,
    engine::Engine,
    pipeline::{
        Description, Inputs, Interrupt, Pipeline, PipelineError, PipelineWarning, PreviewKind, RequiredInput,
        Rgb, StepProgress,
    },
    runner::{Ended, Worker},
};

const SIDE: u32 = 64;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    redis: RedisConfig,
    #[command(flatten)]
    fleet: FleetConfig,
    #[command(flatten)]
    log: LogConfig,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

struct Script;

struct Scene {
    prompt: String,
    step: usize,
    steps: usize,
    pictures: usize,
    /// A hash of the seed and the steps taken.
    state: u64,
}

impl Scene {
    fn word(&self, key: &str) -> Option<u64> {
        let mut words = self.prompt.split_whitespace().filter_map(|word| word.split_once('='));
        words.find(|(word, _)| *word == key).and_then(|(_, number)| number.parse().ok())
    }

    /// Stripes, one for each bit of the state.
    fn picture(&self) -> Rgb {
        let bits = (0..SIDE * SIDE).map(|at| 255 * (self.state >> (at % SIDE) & 1) as u8);
        Rgb { width: SIDE, height: SIDE, data: bits.flat_map(|bit| [bit; 3]).collect() }
    }
}

impl Pipeline for Script {
    type Denoising = Scene;

    fn prepare(
        &self,
        inputs: &Inputs,
        checkpoint: Option<&[u8]>,
        interrupt: Interrupt<'_>,
    ) -> Result<Scene, PipelineError> {
        interrupt.check()?;
        let scene = Scene {
            prompt: inputs.prompt.clone(),
            step: 0,
            steps: inputs.num_inference_steps,
            pictures: inputs.num_images_per_prompt,
            state: inputs.seed,
        };
        if scene.word("refused").is_some() {
            return Err(PipelineError::bad("prompt", "this model refuses it"));
        }
        let Some(Ok(checkpoint)) = checkpoint.map(<[u8; 16]>::try_from) else { return Ok(scene) };
        let [step, state] = [0, 8].map(|at| {
            checkpoint[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        });
        Ok(Scene { step: step as usize, state, ..scene })
    }

    fn warnings(&self, _: &Scene) -> Vec<PipelineWarning> {
        Vec::new()
    }

    fn checkpoint(&self, scene: &Scene) -> Result<Vec<u8>, PipelineError> {
        Ok([(scene.step as u64).to_le_bytes(), scene.state.to_le_bytes()].concat())
    }

    fn step_or_stop(&self, batch: &mut [&mut Scene], _interrupt: Interrupt<'_>) -> Result<(), PipelineError> {
        for scene in batch {
            thread::sleep(Duration::from_millis(scene.word("pace").unwrap_or(5)));
            let now = Some(scene.step as u64);
            if scene.word("fault") == now {
                return Err(PipelineError::Fault { message: "a scripted fault".to_owned() });
            }
            if scene.word("device") == now {
                return Err(PipelineError::Device { message: "a scripted device fault".to_owned() });
            }
            if scene.word("panic") == now {
                // Without the panic hook: only a real panic may write to standard error.
                resume_unwind(Box::new("a scripted panic"));
            }
            scene.step += 1;
            scene.state =
                (scene.state ^ scene.step as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        }
        Ok(())
    }

    fn preview(&self, scene: &Scene, _: PreviewKind) -> Result<Rgb, PipelineError> {
        Ok(scene.picture())
    }

    fn pictures(&self, scene: Scene, interrupt: Interrupt<'_>) -> Result<Vec<Rgb>, PipelineError> {
        interrupt.check()?;
        Ok((0..scene.pictures).map(|_| scene.picture()).collect())
    }

    fn estimates(&self, scene: Scene, interrupt: Interrupt<'_>) -> Result<Vec<Rgb>, PipelineError> {
        self.pictures(scene, interrupt)
    }

    fn progress(&self, scene: &Scene) -> StepProgress {
        StepProgress { step: scene.step, steps: scene.steps }
    }

    fn describe(&self) -> Description {
        Description {
            native_width: SIDE,
            native_height: SIDE,
            multiple: 8,
            max_pixels: 1 << 20,
            schedulers: Vec::new(),
            required: RequiredInput::Nothing,
            refines: false,
            device: "script".to_owned(),
            identity: Default::default(),
        }
    }
}

fn main() -> ExitCode {
    let ended = Shutdown::listen().map_err(Error::from).and_then(|shutdown| {
        let flags = Flags::parse();
        telemetry::init(&flags.log);
        shutdown::block_on(run(flags, shutdown))?
    });
    match ended {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::DeviceFault) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn run(flags: Flags, shutdown: Shutdown) -> Result<Ended, Error> {
    let url = flags.redis.redis_url.as_ref().ok_or("--redis-url is required")?;
    let app = flags.fleet.app.clone().ok_or("--app is required")?;
    let store = RedisStore::connect(url, &flags.redis.redis_prefix, Rules::default(), Clock::Store)?;
    let store: SharedStore = Arc::new(store);
    let (engine, offers) = Engine::start(|| Ok::<_, String>(Script)).await?;
    let worker = Worker {
        store: store.clone(),
        app,
        id: WorkerId::new("scripted"),
        engine,
        offers,
        loras: glimpse_worker::loras::Loras::default(),
        controlnets: None,
        results: None,
        recipes: None,
        hook: None,
        checkpoint_every: flags.fleet.checkpoint_every,
        drain_grace: flags.fleet.drain_grace(),
        work: Default::default(),
    };
    let reaping = tokio::spawn(reaper::run(store, reaper::WORKER_PERIOD));
    let drain = async move {
        shutdown.requested().await;
    };
    let ended = worker.run(|| {}, drain).await;
    reaping.abort();
    Ok(ended)
}
