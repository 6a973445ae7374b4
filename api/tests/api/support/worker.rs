//! A worker that a test controls.

use glimpse_shared::{
    event::{FailureCode, Image, Timings, Warning},
    id::{App, WorkerId},
    job::{WorkerRecord, WorkerState},
    store::{Claim, Ending, Finish, Hold, Lease, Preview, SharedStore},
};

/// A worker's record.
pub(crate) fn record(name: &str, app: &App) -> WorkerRecord {
    WorkerRecord {
        id: name.parse().unwrap(),
        app: app.clone(),
        native_width: 128,
        native_height: 128,
        max_pixels: 512 * 512,
        schedulers: vec!["EulerDiscreteScheduler".to_owned()],
        features: [
            "image",
            "mask",
            "loras",
            "lora_scales",
            "scheduler_config",
            "prompt_syntax",
            "long_prompt",
            "refiner",
            "aesthetic_score",
            "padding_mask_crop",
            "hires",
            "controlnets",
            "controlnet_modes",
            "embeddings",
            "seeds",
            "from",
            "finish_at_step",
        ]
        .map(str::to_owned)
        .to_vec(),
        loras: vec!["ink".to_owned()],
        device: "cpu".to_owned(),
        version: "0.1.0".to_owned(),
        state: WorkerState::Idle,
        progress: None,
        results: None,
        model: None,
    }
}

/// A picture whose bytes are its name.
pub(crate) fn picture(name: &str) -> Image {
    Image::new("image/jpeg", 128, 128, name.as_bytes())
}

pub(crate) struct Worker {
    store: SharedStore,
    id: WorkerId,
    app: App,
    claims: u64,
}

impl Worker {
    pub(crate) fn new(store: SharedStore, app: App) -> Self {
        Self { store, id: WorkerId::new("test"), app, claims: 0 }
    }

    /// The next job.
    pub(crate) async fn claim(&mut self) -> Lease {
        self.claims += 1;
        let capabilities = record("test", &self.app).capabilities();
        let claim = Claim {
            worker: self.id.clone(),
            app: self.app.clone(),
            affinity: None,
            capabilities,
            number: self.claims,
        };
        loop {
            if let Some(lease) = self.store.try_claim(&claim).await.unwrap() {
                return lease;
            }
            self.store.wait_for_work(&self.app, &claim.capabilities).await.unwrap();
        }
    }

    /// Sends a preview whose picture has the name of its step.
    pub(crate) async fn preview(&self, lease: &mut Lease, step: u32) -> Hold {
        self.preview_of(lease, step, picture(&format!("step {step}"))).await
    }

    pub(crate) async fn preview_of(&self, lease: &mut Lease, step: u32, image: Image) -> Hold {
        let preview = Preview::new(lease.attempt, step, lease.job.spec.num_inference_steps(), image);
        self.store.publish(lease, &preview).await.unwrap()
    }

    /// Sends the partial picture that follows a step, if there is one. Its name is its index.
    pub(crate) async fn partial(&self, lease: &mut Lease, step: u32) {
        let (spec, attempt) = (&lease.job.spec, lease.attempt);
        let steps = spec.num_inference_steps();
        let Some(index) = spec.partials().index_after(step, steps) else { return };
        let preview = Preview::partial(attempt, index, step, steps, picture(&format!("partial {index}")));
        assert_eq!(self.store.publish(lease, &preview).await.unwrap(), Hold::Held);
    }

    pub(crate) async fn complete(&self, lease: Lease) -> Finish {
        self.complete_warning(lease, Vec::new()).await
    }

    pub(crate) async fn complete_warning(&self, lease: Lease, warnings: Vec<Warning>) -> Finish {
        let images = (0..lease.job.spec.num_images()).map(|k| picture(&format!("final {k}"))).collect();
        self.end(lease, images, warnings).await
    }

    pub(crate) async fn complete_with(&self, lease: Lease, images: Vec<Image>) -> Finish {
        self.end(lease, images, Vec::new()).await
    }

    async fn end(&self, mut lease: Lease, images: Vec<Image>, warnings: Vec<Warning>) -> Finish {
        let timings = Timings { inference: 1.5, decode: 0.25 };
        let warnings = lease.job.spec.warnings().iter().cloned().chain(warnings).collect();
        let ending = Ending::completed(images, lease.job.spec.seed(), timings, warnings);
        self.store.finish(&mut lease, &ending).await.unwrap()
    }

    pub(crate) async fn fail(&self, mut lease: Lease, code: FailureCode, message: &str) -> Finish {
        self.store.finish(&mut lease, &Ending::failed(code, message.to_owned())).await.unwrap()
    }

    /// Runs a whole job: sends its previews, and then the pictures.
    pub(crate) async fn make_next(&mut self) {
        let mut lease = self.claim().await;
        for step in 0..lease.job.spec.num_inference_steps() {
            if lease.job.spec.has_preview_after(step) {
                self.preview(&mut lease, step).await;
            }
            self.partial(&mut lease, step).await;
        }
        self.complete(lease).await;
    }
}
