//! The stories, and the props they share.

pub mod affinity;
pub mod checkpoint;
pub mod dead;
pub mod ending;
pub mod fence;
pub mod follow;
pub mod needs;
pub mod queue;
pub mod redis;
pub mod wake;

use std::{any::Any, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use glimpse_shared::{
    event::{Event, Followed, Image, Timings},
    id::{App, JobId, Micros, Seq, WorkerId},
    job::{Class, Job},
    needs::{Capabilities, Needs},
    request::{Defaults, ImageSpec, Offer, PreviewSource, Unknown},
    store::{Claim, Clock, Ending, Hold, Lease, Preview, Rules, SharedStore, Submit, memory::MemoryStore},
};
use serde_json::json;

/// 2026-11-25, in microseconds: where every story's clock starts.
pub const START: Micros = Micros(1_795_564_800_000_000);
/// How long a story waits for something that must come.
pub use glimpse_test_support::SOON;

/// A store in a home of its own, on a clock that the story moves.
pub struct Home {
    pub store: SharedStore,
    pub clock: Clock,
    pub rules: Rules,
    /// What must live as long as the home: a server, say.
    pub _keep: Box<dyn Any + Send + Sync>,
}

/// Rules that stories can reach the bounds of.
pub fn rules() -> Rules {
    Rules { queue_limit: 20, previews_kept: 16, ..Rules::default() }
}

pub async fn memory() -> Home {
    let clock = Clock::manual(START);
    let store = Arc::new(MemoryStore::new(rules(), clock.clone()));
    Home { store, clock, rules: rules(), _keep: Box::new(()) }
}

pub fn app() -> App {
    "glimpse/demo".parse().unwrap()
}

pub fn worker(name: &str) -> WorkerId {
    name.parse().unwrap()
}

pub fn spec(prompt: &str) -> ImageSpec {
    let offer =
        Offer { native_width: 128, native_height: 128, max_pixels: 1 << 20, schedulers: Default::default() };
    let defaults = Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Latents };
    let body = json!({ "prompt": prompt, "seed": 7 });
    ImageSpec::check(body.as_object().unwrap().clone(), &offer, defaults).unwrap()
}

pub fn job_of(app: &App, prompt: &str) -> Job {
    Job {
        id: JobId::new(app),
        app: app.clone(),
        tenant: glimpse_shared::job::ANONYMOUS.to_owned(),
        class: Class::Normal,
        spec: spec(prompt),
        digest: format!("digest of {prompt}"),
        start_timeout: Duration::from_secs(3600),
        run_timeout: Duration::from_secs(3600),
        retry_of: None,
        affinity: None,
        needs: Needs::default(),
        traceparent: None,
    }
}

pub fn job(prompt: &str) -> Job {
    job_of(&app(), prompt)
}

/// A claim by a worker that has nothing loaded, and is capable of jobs that need nothing.
pub fn plain_claim(worker: WorkerId, number: u64) -> Claim {
    Claim { worker, app: app(), affinity: None, capabilities: plain(), number }
}

/// What such a worker is capable of.
pub fn plain() -> Capabilities {
    Capabilities::default()
}

pub fn image() -> Image {
    Image::new("image/jpeg", 128, 128, b"not really a picture")
}

pub fn completed() -> Ending {
    Ending::completed(vec![image()], 7, Timings { inference: 1.0, decode: 0.1 }, Vec::new())
}

pub fn preview(lease: &Lease, step: u32) -> Preview {
    Preview::new(lease.attempt, step, 20, image())
}

impl Home {
    /// Time passes, in seconds.
    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Submits a job that must find room.
    pub async fn submit(&self, job: &Job) -> u64 {
        match self.store.submit(job).await.unwrap() {
            Submit::Submitted { position } => position,
            other => panic!("not submitted: {other:?}"),
        }
    }

    pub async fn try_claim(&self, worker: &WorkerId, number: u64) -> Option<Lease> {
        self.store.try_claim(&plain_claim(worker.clone(), number)).await.unwrap()
    }

    /// Claims the first job, which must be there.
    pub async fn claim(&self, name: &str) -> Lease {
        // Numbers of different claims must differ; the clock and the queue do not tell, so count by attempt.
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.try_claim(&worker(name), number).await.expect("a job to claim")
    }

    /// A round of reaping by somebody who has just heard from the store.
    pub async fn reap(&self) -> (Vec<JobId>, Vec<JobId>) {
        let reaped = self.store.reap(self.store.now().await.unwrap()).await.unwrap();
        (reaped.ended, reaped.given_back)
    }

    pub async fn publish(&self, lease: &mut Lease, step: u32) {
        let preview = preview(lease, step);
        assert_eq!(self.store.publish(lease, &preview).await.unwrap(), Hold::Held);
    }

    /// What is left of a job's log, read from the beginning up to `last`.
    pub async fn log(&self, id: JobId) -> Vec<(u64, Event)> {
        let Some(state) = self.store.status(id).await.unwrap() else { return Vec::new() };
        let mut stream = self.store.follow(id, None);
        let mut events = Vec::new();
        while events.last().is_none_or(|(seq, _)| *seq < state.seq.0) {
            events.push(frame(next(&mut stream).await));
        }
        events
    }

    /// The `type`s of what is left of a job's log.
    pub async fn kinds(&self, id: JobId) -> Vec<&'static str> {
        self.log(id).await.iter().map(|(_, event)| event.kind().as_str()).collect()
    }
}

/// The next thing a follower gets; it must come soon.
pub async fn next(stream: &mut BoxStream<'static, Followed>) -> Followed {
    tokio::time::timeout(SOON, stream.next()).await.expect("an event within the deadline").expect("an event")
}

/// The stream must be over.
pub async fn over(stream: &mut BoxStream<'static, Followed>) {
    let end = tokio::time::timeout(SOON, stream.next()).await.expect("an end within the deadline");
    assert_eq!(end, None);
}

pub fn frame(followed: Followed) -> (u64, Event) {
    match followed {
        Followed::Frame(frame) => (frame.seq.0, frame.event().expect("an event of ours")),
        other => panic!("not a frame: {other:?}"),
    }
}

pub fn cursor(seq: u64) -> Option<Seq> {
    Some(Seq(seq))
}
