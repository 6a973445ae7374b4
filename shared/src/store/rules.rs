//! The numbers that the store's promises are made of, and the clock they are measured by.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::id::Micros;

/// How long a worker waits for a wake-up before it looks for a job without one: the most that a lost wake-up costs.
pub(super) const WAKE_UP_WAIT: Duration = Duration::from_secs(5);
/// Cancellations that a worker may be behind before it misses some (it learns of them by its next renew).
pub(super) const CANCELLATIONS_KEPT: usize = 1024;

/// Bounds and times of a store. A whole fleet uses the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long a worker may be silent before its job is given to another.
    pub lease: Duration,
    /// How many lost or faulty attempts a job may have.
    pub attempts: u32,
    /// How many jobs of one app may wait.
    pub queue_limit: u64,
    /// How many of the first waiting jobs a worker chooses from.
    pub affinity_reach: usize,
    /// How often the head of a queue is passed over for a job that suits the worker better.
    pub passed_over: u32,
    /// How many replicas must have a new job before its submit is confirmed. The memory implementation has none and waits for
    /// none.
    pub submit_replicas: u32,
    /// How many previews of a running job the log keeps.
    pub previews_kept: u64,
    /// How long an ended job can be asked for.
    pub ended_ttl: Duration,
    /// How long a job that was given up on can be asked for.
    pub dead_ttl: Duration,
    /// How many of those are listed, of each partition and in one answer.
    pub dead_kept: usize,
    /// How long what was measured of an app's jobs counts after the newest of them.
    pub pace_ttl: Duration,
    /// The oldest `seen` that a reap acts on.
    pub reap_within: Duration,
    /// How long after its last heartbeat a worker is on record.
    pub worker_known: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            attempts: 3,
            queue_limit: 10_000,
            affinity_reach: 8,
            passed_over: 8,
            submit_replicas: 0,
            previews_kept: 16,
            ended_ttl: Duration::from_secs(10 * 60),
            dead_ttl: Duration::from_secs(7 * 24 * 3600),
            dead_kept: 1000,
            pace_ttl: Duration::from_secs(24 * 3600),
            reap_within: Duration::from_secs(5),
            worker_known: Duration::from_secs(60),
        }
    }
}

/// Whose time the store goes by.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The store's own: Redis' `TIME`, or the process' clock for the memory implementation.
    #[default]
    Store,
    /// A test's, in microseconds.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that a test moves by hand.
    pub fn manual(start: Micros) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(start.0)))
    }

    /// The test's time; `None` where the store's own holds.
    pub fn fixed(&self) -> Option<Micros> {
        match self {
            Self::Store => None,
            Self::Manual(now) => Some(Micros(now.load(Ordering::SeqCst))),
        }
    }

    /// Moves a test's clock on; the store's own cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(now) = self {
            now.fetch_add(by.as_micros() as u64, Ordering::SeqCst);
        }
    }
}
