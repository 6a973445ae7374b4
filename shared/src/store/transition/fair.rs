//! Fairness between tenants: start-time fair queueing (Goyal, Vin and Cheng, 1996), in each class of each app's queue.
//!
//! Each job has a start and a finish in the queue's virtual time; the finish is the start and the job's charge. A job
//! starts when the job before it, of the same tenant, finishes, but not before the virtual time: the start of the job
//! that was the first when one was claimed last. The queue is sorted by these starts. So a tenant with many jobs does not
//! delay one with few, a tenant that was idle has saved nothing up, and the jobs of one tenant keep their order.

use std::collections::BTreeMap;

use crate::{id::Micros, job::Job};

/// The last start that the queue's score holds besides the class.
const LAST: u64 = (1 << 51) - 1;

/// The virtual time of one class of a queue. All times are in microseconds, and none is before the first job's arrival.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fair {
    /// The virtual time.
    now: u64,
    /// The latest finish of all jobs.
    last: u64,
    /// The finish of each tenant's newest job. A tenant without one has no finish after `now`.
    finish: BTreeMap<String, u64>,
}

impl Fair {
    /// The start of a new job. `idle`: no job of the class waits, so nobody is behind anybody else.
    pub(super) fn enter(&mut self, job: &Job, idle: bool, now: Micros) -> u64 {
        if idle {
            self.now = self.now.max(now.0).max(self.last);
            self.finish.clear();
        }
        let before = self.finish.get(&job.tenant).copied().unwrap_or_default();
        let start = self.now.max(before).min(LAST);
        let finish = start + job.charge();
        self.finish.insert(job.tenant.clone(), finish);
        self.last = self.last.max(finish);
        start
    }

    /// A job was claimed while one with this start was the first.
    pub(super) fn served(&mut self, start: u64) {
        self.now = self.now.max(start);
    }
}
