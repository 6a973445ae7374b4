//! A job, a worker and their requests, for tests of the store.

use std::time::Duration;

use glimpse_shared::{
    event::{Image, Timings},
    id::{App, JobId, Micros, WorkerId},
    job::{Class, Job},
    needs::{Capabilities, Needs},
    request::{Defaults, ImageSpec, Offer, PreviewSource, Unknown},
    store::{Claim, Ending, Lease, Preview},
};
use serde_json::json;

/// 2026-11-25: the start of every test clock.
pub const START: Micros = Micros(1_795_564_800_000_000);

/// The app of the jobs.
pub fn app() -> App {
    "glimpse/demo".parse().unwrap()
}

/// The id of a worker.
pub fn worker(name: &str) -> WorkerId {
    name.parse().unwrap()
}

/// A request with this prompt.
pub fn spec(prompt: &str) -> ImageSpec {
    let offer = Offer {
        native_width: 128,
        native_height: 128,
        max_pixels: 1 << 20,
        schedulers: Default::default(),
        lora_sources: Default::default(),
        controlnet_hub: false,
    };
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    let body = json!({ "prompt": prompt, "seed": 7 });
    ImageSpec::check(body.as_object().unwrap().clone(), &offer, defaults).unwrap()
}

/// A new job of an app, with this prompt.
pub fn job_of(app: &App, prompt: &str) -> Job {
    Job {
        id: JobId::new(app),
        app: app.clone(),
        tenant: glimpse_shared::job::ANONYMOUS.to_owned(),
        weight: Default::default(),
        class: Class::Normal,
        spec: spec(prompt),
        digest: format!("digest of {prompt}"),
        start_timeout: Duration::from_secs(3600),
        run_timeout: Duration::from_secs(3600),
        retry_of: None,
        webhook: None,
        affinity: None,
        needs: Needs::default(),
        traceparent: None,
    }
}

/// A new job of [`app`], with this prompt.
pub fn job(prompt: &str) -> Job {
    job_of(&app(), prompt)
}

/// A claim of a worker that has nothing loaded and that is only capable of jobs that need nothing.
pub fn plain_claim(worker: WorkerId, number: u64) -> Claim {
    Claim { worker, app: app(), affinity: None, capabilities: plain(), number }
}

/// The capabilities of [`plain_claim`].
pub fn plain() -> Capabilities {
    Capabilities::default()
}

/// A picture; its bytes are not valid.
pub fn image() -> Image {
    Image::new("image/jpeg", 128, 128, b"not really a picture")
}

/// The end of a job with one picture.
pub fn completed() -> Ending {
    Ending::completed(vec![image()], 7, Timings { inference: 1.0, decode: 0.1 }, Vec::new())
}

/// The preview after a step.
pub fn preview(lease: &Lease, step: u32) -> Preview {
    Preview::new(lease.attempt, step, 20, image())
}
