//! The tests of every store implementation, and their fixture.

pub mod affinity;
pub mod checkpoint;
pub mod dead;
pub mod early;
pub mod ending;
pub mod fair;
pub mod fence;
pub mod follow;
pub mod list;
pub mod needs;
pub mod partials;
pub mod queue;
pub mod quota;
pub mod redis;
mod streams;
pub mod wake;
pub mod webhook;

use std::{any::Any, sync::Arc, time::Duration};

use glimpse_shared::{
    event::Event,
    id::{JobId, WorkerId},
    job::Job,
    store::{Clock, Hold, Lease, Rules, SharedStore, Submit, memory::MemoryStore},
};
pub use glimpse_test_support::{
    SOON,
    jobs::{START, app, completed, job, job_of, plain, plain_claim, preview, worker},
};

pub use self::streams::{cursor, frame, next, over};

/// A store of a test, with a clock that the test advances.
pub struct Fixture {
    pub store: SharedStore,
    pub clock: Clock,
    pub rules: Rules,
    /// What the store needs, for example its server.
    pub _keep: Box<dyn Any + Send + Sync>,
}

/// Rules with small limits, so that tests can reach them.
pub fn rules() -> Rules {
    Rules { queue_limit: 20, previews_kept: 16, listed: 12, ..Rules::default() }
}

pub async fn memory() -> Fixture {
    let clock = Clock::manual(START);
    let store = Arc::new(MemoryStore::new(rules(), clock.clone()));
    Fixture { store, clock, rules: rules(), _keep: Box::new(()) }
}

impl Fixture {
    /// Advances the clock.
    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Submits a job; the queue must have room.
    pub async fn submit(&self, job: &Job) -> u64 {
        match self.store.submit(job).await.unwrap() {
            Submit::Submitted { position } => position,
            other => panic!("not submitted: {other:?}"),
        }
    }

    pub async fn try_claim(&self, worker: &WorkerId, number: u64) -> Option<Lease> {
        self.store.try_claim(&plain_claim(worker.clone(), number)).await.unwrap()
    }

    /// Claims a job; there must be one.
    pub async fn claim(&self, name: &str) -> Lease {
        // Different claims need different numbers.
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.try_claim(&worker(name), number).await.expect("a job to claim")
    }

    /// Reaps with the store's current time. Returns the ended and the requeued jobs.
    pub async fn reap(&self) -> (Vec<JobId>, Vec<JobId>) {
        let reaped = self.store.reap(self.store.now().await.unwrap()).await.unwrap();
        (reaped.ended, reaped.given_back)
    }

    pub async fn publish(&self, lease: &mut Lease, step: u32) {
        let preview = preview(lease, step);
        assert_eq!(self.store.publish(lease, &preview).await.unwrap(), Hold::Held);
    }

    /// All events in a job's log.
    pub async fn log(&self, id: JobId) -> Vec<(u64, Event)> {
        let Some(state) = self.store.status(id).await.unwrap() else { return Vec::new() };
        let mut stream = self.store.follow(id, None);
        let mut events = Vec::new();
        while events.last().is_none_or(|(seq, _)| *seq < state.seq.0) {
            events.push(frame(next(&mut stream).await));
        }
        events
    }

    /// The types of all events in a job's log.
    pub async fn kinds(&self, id: JobId) -> Vec<&'static str> {
        self.log(id).await.iter().map(|(_, event)| event.kind().as_str()).collect()
    }
}
