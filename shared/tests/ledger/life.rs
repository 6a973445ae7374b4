//! The account of one job.

use std::time::Duration;

use glimpse_shared::{
    id::{Micros, Seq, WorkerId},
    job::{Job, Status},
    store::{Checkpoint, transition::Fence},
};

/// What a job has been through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life {
    pub(super) digest: String,
    pub(super) start_timeout: Duration,
    pub(super) run_timeout: Duration,
    /// Its newest event.
    pub seq: Seq,
    /// How it ended.
    pub ended: Option<Status>,
    /// Whose finish ended it.
    pub(super) finisher: Option<Fence>,
    /// Who may write about it.
    pub(super) holder: Option<Holder>,
    /// Its newest attempt.
    pub attempt: u32,
    /// Lost and faulty attempts.
    pub counted: u32,
    /// The step of the attempt's newest preview.
    pub(super) step: Option<u32>,
    /// The newest that was accepted, unless its attempt was faulty.
    pub checkpoint: Option<Checkpoint>,
    /// When it must have begun, and once it has, have ended.
    pub(super) deadline: Micros,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Holder {
    pub(super) worker: WorkerId,
    pub(super) until: Micros,
}

impl Life {
    /// A new job's.
    pub(super) fn new(job: &Job, now: Micros) -> Self {
        Self::of(job.digest.clone(), job.start_timeout, job.run_timeout, now)
    }

    /// That of a job which tries a dead one again.
    pub(super) fn retried(&self, now: Micros) -> Self {
        Self::of(self.digest.clone(), self.start_timeout, self.run_timeout, now)
    }

    fn of(digest: String, start_timeout: Duration, run_timeout: Duration, now: Micros) -> Self {
        Self {
            digest,
            start_timeout,
            run_timeout,
            seq: Seq::default(),
            ended: None,
            finisher: None,
            holder: None,
            attempt: 0,
            counted: 0,
            step: None,
            checkpoint: None,
            deadline: now.after(start_timeout),
        }
    }

    /// Whether a write under this fence counts.
    pub(super) fn is_held_by(&self, fence: &Fence) -> bool {
        self.attempt == fence.attempt
            && self.holder.as_ref().is_some_and(|holder| holder.worker == fence.worker)
    }

    /// Another lease's time for the holder.
    pub(super) fn extend(&mut self, until: Micros) {
        if let Some(holder) = &mut self.holder {
            holder.until = until;
        }
    }

    /// Whether the holder's time is over.
    pub(super) fn is_lost(&self, now: Micros) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.until <= now)
    }

    /// Nobody may write about it from here on.
    pub(super) fn fence_off(&mut self) {
        self.holder = None;
        self.step = None;
        if self.ended.is_some() {
            self.checkpoint = None;
        }
    }
}
