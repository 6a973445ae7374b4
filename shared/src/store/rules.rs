//! The store's limits and times, and its clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::id::Micros;

/// How long a worker waits for a wake-up before it claims without one. A lost wake-up costs at most this time.
pub(super) const WAKE_UP_WAIT: Duration = Duration::from_secs(5);
/// How many cancellations are kept for a slow worker. It learns of the others from its next renew.
pub(super) const CANCELLATIONS_KEPT: usize = 1024;

/// Limits and times of a store. All processes of a fleet use the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long a worker may be silent before its job is given to another.
    pub lease: Duration,
    /// How many lost or faulty attempts a job may have.
    pub attempts: u32,
    /// How many jobs of one app may wait.
    pub queue_limit: u64,
    /// How many of the first suitable jobs a worker chooses from.
    pub affinity_reach: usize,
    /// How often the head of a queue is passed over for a job that suits the worker better.
    pub passed_over: u32,
    /// How many replicas must have a new job before its submit is confirmed. The memory implementation ignores it.
    pub submit_replicas: u32,
    /// How many previews of a running job the log keeps.
    pub previews_kept: u64,
    /// The time to live of an ended job.
    pub ended_ttl: Duration,
    /// The time to live of a dead job.
    pub dead_ttl: Duration,
    /// How many dead jobs are listed, for each partition and in one answer.
    pub dead_kept: usize,
    /// Jobs of one tenant in one partition that can be listed; when there are more, the oldest are not.
    pub listed: usize,
    /// How long the mean time of an app's jobs counts after the last completed job.
    pub pace_ttl: Duration,
    /// The maximum age of the time `seen` of a reap; an older one does nothing.
    pub reap_within: Duration,
    /// How long a worker is registered after its last heartbeat.
    pub worker_known: Duration,
    /// How long a try to call a webhook is leased. After it the next try is due: the process may have died.
    pub webhook_lease: Duration,
    /// The wait after the first failed try of a webhook. It doubles with each try.
    pub webhook_first_wait: Duration,
    /// The longest wait between two tries.
    pub webhook_longest_wait: Duration,
    /// The number of tries after which a webhook is given up.
    pub webhook_tries: u32,
    /// The time to live of an ended job whose webhook was not called yet.
    pub webhook_ttl: Duration,
}

impl Rules {
    /// The wait after the failed try `number` of a webhook, counted from 1.
    pub(super) fn webhook_wait(&self, number: u32) -> Duration {
        let doublings = number.saturating_sub(1).min(30);
        self.webhook_first_wait.saturating_mul(1 << doublings).min(self.webhook_longest_wait)
    }
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
            listed: 1000,
            pace_ttl: Duration::from_secs(24 * 3600),
            reap_within: Duration::from_secs(5),
            worker_known: Duration::from_secs(60),
            webhook_lease: Duration::from_secs(30),
            webhook_first_wait: Duration::from_secs(2),
            webhook_longest_wait: Duration::from_secs(3600),
            webhook_tries: 15,
            webhook_ttl: Duration::from_secs(24 * 3600),
        }
    }
}

/// The source of the store's time.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The store's own clock: Redis' `TIME`, or the process' clock for the memory implementation.
    #[default]
    Store,
    /// The time of a test, in microseconds since the Unix epoch.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that a test moves by hand.
    pub fn manual(start: Micros) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(start.0)))
    }

    /// The test's time; `None` for the store's own clock.
    pub fn fixed(&self) -> Option<Micros> {
        match self {
            Self::Store => None,
            Self::Manual(now) => Some(Micros(now.load(Ordering::SeqCst))),
        }
    }

    /// Advances a test's clock. Does nothing to the store's own clock.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(now) = self {
            now.fetch_add(by.as_micros() as u64, Ordering::SeqCst);
        }
    }
}
