//! The store's state, and the reads of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    event::Frame,
    id::{App, JobId, Micros, Partition, Seq, WorkerId},
    job::{ANONYMOUS, Job, JobState, SeenWorker, Status},
    needs::Capabilities,
    store::{Checkpoint, Claim, Rules},
};

use super::fair::Fair;

/// The store's state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub(super) jobs: BTreeMap<JobId, Record>,
    /// Waiting jobs of each app, first to last.
    pub(super) queues: BTreeMap<App, BTreeSet<QueuePlace>>,
    /// The virtual time of each queue's classes.
    pub(super) fair: BTreeMap<(App, u64), Fair>,
    /// Every unfinished job, by the time when reap must check it.
    pub(super) due: BTreeSet<(Micros, JobId)>,
    /// Dead jobs, oldest first.
    pub(super) dead: BTreeMap<Partition, BTreeSet<(Micros, JobId)>>,
    /// Webhooks that must be called, by the time of the next try.
    pub(super) hooks: BTreeMap<Partition, BTreeSet<(Micros, JobId)>>,
    /// The jobs of each tenant, oldest first.
    pub(super) listed: BTreeMap<(Partition, String), BTreeSet<(Micros, JobId)>>,
    /// Ended jobs, by their expiry.
    pub(super) expiry: BTreeSet<(Micros, JobId)>,
    /// The wake-up tokens of each app: for workers with these capabilities, or for any worker.
    pub(super) wake: BTreeSet<(App, Option<Capabilities>)>,
    /// The capabilities of workers that claim jobs of an app, with their expiry.
    pub(super) looking: BTreeMap<App, BTreeMap<Capabilities, Micros>>,
    /// Each worker's newest claim that was answered with a lease.
    pub(super) claims: BTreeMap<WorkerId, Claimed>,
    /// The mean time of each app's completed jobs.
    pub(super) pace: BTreeMap<App, Pace>,
    pub(super) workers: BTreeMap<WorkerId, SeenWorker>,
    /// The time when silent workers were last removed.
    pub(super) swept: Micros,
}

/// The sort key of a queue: class, the job's start in virtual time, and the id for jobs with the same start.
pub(super) type QueuePlace = (u64, u64, JobId);

/// The last claim of a worker that got a job, kept for one lease's time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claimed {
    pub(super) number: u64,
    pub(super) job: JobId,
    pub(super) attempt: u32,
    pub(super) until: Micros,
}

/// The mean time of an app's completed jobs. The newest job has the weight 1/8.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pace {
    pub(super) mean: Duration,
    pub(super) until: Micros,
}

/// A job as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub(super) job: Job,
    pub(super) status: Status,
    pub(super) attempt: u32,
    /// The number of lost and faulty attempts.
    pub(super) faults: u32,
    /// The worker that holds the job; of a finished job, the one that finished it.
    pub(super) worker: Option<WorkerId>,
    pub(super) seq: Seq,
    pub(super) step: Option<u32>,
    /// The attempt's oldest preview.
    pub(super) first_preview: Option<Seq>,
    /// The indices of the partial pictures in the log, of any attempt.
    pub(super) partials: BTreeSet<u32>,
    pub(super) created_at: Micros,
    /// Its start in the virtual time of its queue, in microseconds.
    pub(super) start_tag: u64,
    pub(super) started_at: Option<Micros>,
    pub(super) finished_at: Option<Micros>,
    pub(super) lease_until: Option<Micros>,
    pub(super) run_deadline: Option<Micros>,
    /// How often the job was at the head of its queue and a worker claimed another one.
    pub(super) passed: u32,
    /// The step at which somebody asked to finish the job early.
    pub(super) finish_early: Option<u32>,
    /// The newest checkpoint of any attempt.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) log: VecDeque<Frame>,
    /// When the ended job expires.
    pub(super) expires_at: Option<Micros>,
    /// The delivery of the ended job's webhook, until it is over.
    pub(super) delivery: Option<Due>,
}

/// A delivery that is due, or that is leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// The time of the next try; while one is leased, the end of the lease.
    pub(super) at: Micros,
    /// The number of the newest try; 0 before the first.
    pub(super) tries: u32,
    /// The newest try that was reported as failed.
    pub(super) failed: u32,
    /// The job's time to live after the delivery.
    pub(super) ttl: Duration,
}

impl Record {
    /// When reap must check the job: at its start deadline, or at the earlier of run deadline and lease.
    pub(super) fn due(&self) -> Micros {
        match (self.run_deadline, self.lease_until) {
            (None, _) => self.created_at.after(self.job.start_timeout),
            (Some(run), None) => run,
            (Some(run), Some(lease)) => run.min(lease),
        }
    }

    pub(super) fn place(&self) -> QueuePlace {
        (self.job.class.rank(), self.start_tag, self.job.id)
    }
}

impl State {
    /// A job's state.
    pub fn status(&self, id: JobId) -> Option<JobState> {
        let record = self.jobs.get(&id)?;
        Some(JobState {
            id,
            app: record.job.app.clone(),
            tenant: record.job.tenant.clone(),
            digest: record.job.digest.clone(),
            steps: record.job.spec.steps_to_take(),
            needs: record.job.needs.clone(),
            prompt: None,
            retry_of: record.job.retry_of,
            status: record.status,
            attempt: record.attempt,
            worker: record.worker.clone(),
            position: (record.status == Status::Queued).then(|| self.position(record)),
            step: record.step,
            finish_early: record.finish_early,
            seq: record.seq,
            created_at: record.created_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
        })
    }

    /// The newest event of a job's log.
    pub fn newest(&self, id: JobId) -> Option<&Frame> {
        self.jobs.get(&id)?.log.back()
    }

    /// A job as it was submitted.
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id).map(|record| &record.job)
    }

    /// The events of a job's log after `cursor`; `None` if the job does not exist.
    pub fn log_after(&self, id: JobId, cursor: Option<Seq>) -> Option<Vec<Frame>> {
        let record = self.jobs.get(&id)?;
        Some(record.log.iter().filter(|frame| Some(frame.seq) > cursor).cloned().collect())
    }

    /// The checkpoint from which the job's next attempt resumes.
    pub fn checkpoint(&self, id: JobId) -> Option<&Checkpoint> {
        self.jobs.get(&id)?.checkpoint.as_ref()
    }

    /// The jobs that reap must check.
    pub fn due(&self, now: Micros) -> Vec<JobId> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    /// How many queued and running jobs a tenant has. None of [`ANONYMOUS`] is counted.
    pub fn unfinished(&self, tenant: &str) -> u64 {
        if tenant == ANONYMOUS {
            return 0;
        }
        let of = |id: &JobId| self.jobs.get(id).is_some_and(|record| record.job.tenant == tenant);
        self.due.iter().filter(|(_, id)| of(id)).count() as u64
    }

    /// The delivery of a job's webhook, if it is not over: the time of the next try, and the number of tries.
    pub fn delivery(&self, id: JobId) -> Option<(Micros, u32)> {
        self.jobs.get(&id)?.delivery.map(|due| (due.at, due.tries))
    }

    /// The expired jobs.
    pub fn expired(&self, now: Micros) -> Vec<JobId> {
        self.expiry.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    /// The registered workers, by id.
    pub fn workers(&self, rules: &Rules, now: Micros) -> Vec<SeenWorker> {
        self.workers
            .values()
            .filter(|seen| now.since(seen.last_seen) <= rules.worker_known)
            .cloned()
            .collect()
    }

    /// The waiting jobs that a worker with the claim's capabilities can run, first to last.
    pub(super) fn waiting_for(&self, claim: &Claim) -> impl Iterator<Item = &Record> {
        let waiting = self.queues.get(&claim.app).into_iter().flatten();
        let records = waiting.filter_map(|(_, _, id)| self.jobs.get(id));
        records.filter(|record| record.job.needs.met_by(&claim.capabilities))
    }

    pub(super) fn position(&self, record: &Record) -> u64 {
        let queue = self.queues.get(&record.job.app);
        queue.map_or(0, |queue| queue.range(..record.place()).count() as u64)
    }
}
