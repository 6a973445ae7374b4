//! The account of one job.

use std::{collections::BTreeMap, time::Duration};

use glimpse_shared::{
    id::{Micros, Seq, WorkerId},
    job::{Job, JobState, Status},
    needs::Needs,
    store::{Checkpoint, transition::Fence},
    webhook::Webhook,
};

use crate::history::History;

/// The delivery of a job's webhook that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Call {
    /// When the next try is due, or the end of the current lease.
    pub(super) at: Micros,
    /// The number of the newest try; 0 before the first.
    pub(super) tries: u32,
    /// The newest try that was reported as failed.
    pub(super) failed: u32,
}

/// The history of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life {
    pub(super) digest: String,
    /// Whose it is.
    pub(super) tenant: String,
    pub(super) start_timeout: Duration,
    pub(super) run_timeout: Duration,
    /// The job's needs.
    pub(super) needs: Needs,
    /// What is called at its end.
    pub(super) webhook: Option<Webhook>,
    /// Whether its end made the delivery due.
    pub(super) called: bool,
    /// The delivery, until it is over.
    pub(super) call: Option<Call>,
    /// Its log.
    pub(super) history: History,
    /// The number of each of its partial pictures, by their indices.
    pub(super) partials: BTreeMap<u32, Seq>,
    /// The lease that finished it.
    pub(super) finisher: Option<Fence>,
    /// The current lease.
    pub(super) holder: Option<Holder>,
    /// Lost and faulty attempts.
    pub(super) counted: u32,
    /// The newest accepted checkpoint, unless its attempt was faulty.
    pub(super) checkpoint: Option<Checkpoint>,
    /// The step at which somebody asked to finish it early.
    pub(super) finish_early: Option<u32>,
    /// The deadline of its start, and then of its end.
    pub(super) deadline: Micros,
    /// Whether it has no previews, so that its steps are not known.
    pub(super) quiet: bool,
    /// The state in the store after its newest event.
    shown: Shown,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Holder {
    pub(super) worker: WorkerId,
    pub(super) until: Micros,
}

/// The parts of the state that change only with an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Shown {
    seq: Seq,
    worker: Option<WorkerId>,
    step: Option<u32>,
}

impl Shown {
    fn of(state: &JobState) -> Self {
        Self { seq: state.seq, worker: state.worker.clone(), step: state.step }
    }
}

impl Life {
    /// How it ended.
    pub fn ended(&self) -> Option<Status> {
        self.history.end()
    }

    /// Its newest attempt.
    pub fn attempt(&self) -> u32 {
        self.history.attempt()
    }

    /// The number of lost and faulty attempts.
    pub fn counted(&self) -> u32 {
        self.counted
    }

    /// The account of a new job.
    pub(super) fn new(job: &Job, now: Micros) -> Self {
        let webhook = job.webhook.clone();
        Self {
            webhook,
            tenant: job.tenant.clone(),
            quiet: !job.spec.has_previews(),
            ..Self::of((job.digest.clone(), job.needs.clone()), job.start_timeout, job.run_timeout, now)
        }
    }

    /// The account of a job that retries this dead one.
    pub(super) fn retried(&self, now: Micros) -> Self {
        let (finish_early, quiet) = (self.finish_early, self.quiet);
        let (same, webhook) = ((self.digest.clone(), self.needs.clone()), self.webhook.clone());
        Self {
            webhook,
            tenant: self.tenant.clone(),
            finish_early,
            quiet,
            ..Self::of(same, self.start_timeout, self.run_timeout, now)
        }
    }

    fn of(
        (digest, needs): (String, Needs),
        start_timeout: Duration,
        run_timeout: Duration,
        now: Micros,
    ) -> Self {
        Self {
            digest,
            tenant: String::new(),
            start_timeout,
            run_timeout,
            needs,
            webhook: None,
            called: false,
            call: None,
            history: History::default(),
            partials: BTreeMap::new(),
            finisher: None,
            holder: None,
            counted: 0,
            checkpoint: None,
            finish_early: None,
            quiet: false,
            deadline: now.after(start_timeout),
            shown: Shown::default(),
        }
    }

    pub(super) fn status(&self) -> Status {
        let unfinished = if self.holder.is_some() { Status::Running } else { Status::Queued };
        self.ended().unwrap_or(unfinished)
    }

    /// Whether a write under this fence counts.
    pub(super) fn is_held_by(&self, fence: &Fence) -> bool {
        self.attempt() == fence.attempt
            && self.holder.as_ref().is_some_and(|holder| holder.worker == fence.worker)
    }

    /// The step at which it is when somebody asks now to finish it early; `None` before the first.
    pub(super) fn step(&self) -> Option<u32> {
        self.holder.as_ref()?;
        self.shown.step.or(self.quiet.then_some(0))
    }

    /// Extends the lease.
    pub(super) fn extend(&mut self, until: Micros) {
        if let Some(holder) = &mut self.holder {
            holder.until = until;
        }
    }

    /// Whether the lease has expired.
    pub(super) fn is_lost(&self, now: Micros) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.until <= now)
    }

    /// Ends the lease.
    pub(super) fn fence_off(&mut self) {
        self.holder = None;
        if self.ended().is_some() {
            self.checkpoint = None;
        }
    }

    /// Records the state in the store, if there is a new event.
    pub(super) fn show(&mut self, state: &JobState) {
        if self.shown.seq != state.seq {
            self.shown = Shown::of(state);
        }
    }

    /// Whether the state is the one after the newest event.
    pub(super) fn shows(&self, state: &JobState) -> bool {
        self.shown == Shown::of(state)
    }
}
