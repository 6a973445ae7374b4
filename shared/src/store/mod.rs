//! The store: one trait, two implementations.
//!
//! The API and the workers use the queue and the event bus only through [`Store`]. [`memory`] implements it in one
//! process and is the executable specification. [`redis`] implements it for a fleet. The rules are a pure function,
//! [`transition`]: the memory implementation calls it, and the Lua scripts repeat it. A conformance suite and a
//! property test compare the two implementations.
//!
//! Every command may be repeated if its answer was lost. So the trait borrows leases, and the worker's own guard
//! consumes them.

mod lease;
mod listing;
pub mod memory;
mod quota;
pub mod redis;
mod rules;
pub mod transition;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use lease::{Checkpoint, Claim, Ending, Lease, Preview, Shown};
pub use listing::{ListedJob, Listing, Waiting};
pub use quota::Quota;
pub use rules::{Clock, Rules};

use crate::{
    error::StoreResult,
    event::{CancelledBy, Followed, Frame},
    id::{App, JobId, KeySecret, Micros, Seq},
    job::{DeadJob, Job, JobState, Release, SeenWorker, Status, WorkerRecord},
    needs::Capabilities,
    webhook::{Delivery, Report, Settled},
};

/// A store that many tasks share.
pub type SharedStore = Arc<dyn Store>;

/// The answer to a submit.
#[derive(Debug, Clone, PartialEq)]
pub enum Submit {
    /// The job waits behind `position` others.
    Submitted {
        /// How many waiting jobs are served first.
        position: u64,
    },
    /// The job is queued, but too few replicas confirmed it in time ([`Rules::submit_replicas`]): a failover may lose
    /// it. A repeated submit gets Duplicate.
    Unconfirmed {
        /// How many replicas have it.
        replicas: u32,
    },
    /// The same request was submitted under this id before.
    Duplicate,
    /// Another request was submitted under this id before.
    Conflict,
    /// The tenant has as many unfinished jobs as its [`Quota`] says, or more.
    Crowded {
        /// How many.
        unfinished: u64,
        /// How long the app's jobs took recently, from the first claim to the end; `None` if none was completed.
        pace: Option<Duration>,
    },
    /// Too many jobs of the app wait.
    Full {
        /// How many.
        waiting: u64,
        /// How long the app's jobs took recently, from the first claim to the end; `None` if none was completed.
        pace: Option<Duration>,
    },
}

/// The answer to a retry.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// A new job waits behind `position` others, and the dead job is removed from the list.
    Submitted {
        /// The new job.
        id: JobId,
        /// How many waiting jobs are served first.
        position: u64,
    },
    /// The same, but too few replicas confirmed the new job in time.
    Unconfirmed {
        /// The new job.
        id: JobId,
        /// How many replicas have it.
        replicas: u32,
    },
    /// The job was retried before.
    Duplicate {
        /// The new job of that retry.
        id: JobId,
    },
    /// Too many jobs of the app wait. The dead job stays on the list.
    Full {
        /// How many.
        waiting: u64,
        /// How long the app's jobs took recently, from the first claim to the end; `None` if none was completed.
        pace: Option<Duration>,
    },
    /// The job is not on the dead list.
    Unknown,
}

/// The answer to a worker that renews or publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It holds the job for one lease's time: from now, or from the last write if this one wrote nothing.
    Held,
    /// The same, and somebody asked to finish the job early: after the first step from this one on, counted from 0.
    FinishEarly(u32),
    /// Somebody cancelled the job.
    Cancelled,
    /// The job is another attempt's, or has ended, or is gone.
    Lost,
}

impl Hold {
    /// Whether the worker holds the job: the first step after which it should finish early, if it should.
    pub fn held(self) -> Option<Option<u32>> {
        match self {
            Self::Held => Some(None),
            Self::FinishEarly(at) => Some(Some(at)),
            Self::Cancelled | Self::Lost => None,
        }
    }

    /// The answer to a holder that is asked to finish after this step, or is not asked.
    pub fn holding(finish_early: Option<u32>) -> Self {
        finish_early.map_or(Self::Held, Self::FinishEarly)
    }

    /// Whether the worker holds the job.
    pub fn is_held(self) -> bool {
        self.held().is_some()
    }
}

/// The answer to a finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// This attempt ended the job, now or with an earlier try.
    Finished,
    /// Somebody cancelled the job.
    Cancelled,
    /// The job is another attempt's, or ended otherwise, or is gone.
    Lost,
}

/// The answer to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The job is queued again, or has failed with its last attempt.
    Released,
    /// Somebody cancelled the job.
    Cancelled,
    /// The job is another attempt's, or has ended, or is gone.
    Lost,
}

/// The answer to a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// The job is cancelled now.
    Cancelled,
    /// It had already ended, with this status.
    AlreadyDone(Status),
    /// There is no such job.
    Unknown,
}

/// The answer to a request to finish a job early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishEarly {
    /// The job's worker is asked, now or by an earlier request. If the worker is lost, the next one is asked.
    Asked,
    /// The job has made no step yet.
    TooEarly,
    /// It had already ended, with this status.
    AlreadyDone(Status),
    /// There is no such job.
    Unknown,
}

/// The result of a pass of [`Store::reap`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reaped {
    /// The store's time at the end of the pass: the next pass' `seen`.
    pub now: Micros,
    /// Jobs that ended with a `failed` event.
    pub ended: Vec<JobId>,
    /// Jobs that lost their worker and are queued again.
    pub given_back: Vec<JobId>,
}

/// The queue and the event bus.
///
/// A state change and its event are one atomic write. A worker's write counts only while the job is running, as
/// the lease's attempt and by the lease's worker. Every job gets exactly one terminal event.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Puts a job into its app's queue. Idempotent by the job's id. Duplicate and Conflict are checked before Crowded,
    /// and this before Full. Jobs of [`ANONYMOUS`](crate::job::ANONYMOUS) are not counted: they have no quota. With
    /// several partitions, submits of one tenant to apps of different partitions at the same moment may exceed its quota,
    /// by one job per partition.
    async fn submit_within(&self, job: &Job, quota: Quota) -> StoreResult<Submit>;

    /// The same for a tenant without a quota.
    async fn submit(&self, job: &Job) -> StoreResult<Submit> {
        self.submit_within(job, Quota::default()).await
    }

    /// Claims a queued job of `claim.app` that the worker is capable of, if there is one. Among the first
    /// [`Rules::affinity_reach`] such jobs it takes the first one with the worker's affinity, otherwise the first one.
    /// A job is passed over at most [`Rules::passed_over`] times. The same claim number gets the same lease again for
    /// one lease's time.
    async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>>;

    /// Waits until there may be a job of the app for a worker with these capabilities, at most 5 s. May be dropped at
    /// any time. The worker must have claimed with the same capabilities before: the claim tells the store which
    /// workers to wake.
    async fn wait_for_work(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()>;

    /// Passes a wake-up on to another worker with the same capabilities: for a worker that was woken and will not
    /// claim.
    async fn wake(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()>;

    /// Renews the lease, and replaces the job's checkpoint. A full store renews the lease without the checkpoint.
    async fn renew(&self, lease: &Lease, checkpoint: Option<&Checkpoint>) -> StoreResult<Hold>;

    /// Appends a preview and renews the lease. An unanswered preview may be sent again, or replaced by a newer
    /// one. The first partial picture of each index stays in the log until the job is deleted; another one of the same
    /// index writes nothing. A full store writes nothing either.
    async fn publish(&self, lease: &mut Lease, preview: &Preview) -> StoreResult<Hold>;

    /// Ends the job.
    async fn finish(&self, lease: &mut Lease, ending: &Ending) -> StoreResult<Finish>;

    /// Returns the job to the queue. A drain keeps its checkpoint, as a lost lease does. A fault deletes the checkpoint,
    /// because it may have caused the fault.
    async fn release(&self, lease: &Lease, release: &Release) -> StoreResult<Released>;

    /// Ends a queued or running job at once, for a caller that does not hold it.
    async fn cancel(&self, id: JobId, by: CancelledBy) -> StoreResult<Cancel>;

    /// Asks the worker of a running job to finish it with the picture that it has, for a caller that does not hold it.
    /// The request has no event; the job's end is one as always. It outlives the attempt: each later one gets it with
    /// its lease, and the job that retries this one too.
    async fn finish_early(&self, id: JobId) -> StoreResult<FinishEarly>;

    /// The dead jobs that were not retried, of one app or of all, newest first; at most
    /// [`Rules::dead_kept`].
    async fn dead(&self, app: Option<&App>) -> StoreResult<Vec<DeadJob>>;

    /// Retries a dead job as a new job ([`Job::retried`]) of the same tenant, whatever its quota, and removes it from the
    /// dead list. The new job's id is
    /// computed from the old one's, so repeated and concurrent retries give one job.
    async fn retry(&self, id: JobId) -> StoreResult<Retry>;

    /// Ends overdue jobs and requeues jobs with an expired lease. `seen` is the store's time that the caller last read.
    /// If it is older than [`Rules::reap_within`], the pass does nothing: a pass that waited in the socket of a frozen
    /// server must not run before the workers' renewals.
    async fn reap(&self, seen: Micros) -> StoreResult<Reaped>;

    /// The store's time. A server that accepts no writes returns an error.
    async fn now(&self) -> StoreResult<Micros>;

    /// Whether the store can do everything that an API needs; if not, the error is the reason.
    async fn ready(&self) -> StoreResult<()> {
        self.now().await.map(drop)
    }

    /// Registers a worker, or renews its registration.
    async fn heartbeat(&self, worker: &WorkerRecord) -> StoreResult<()>;

    /// The workers with a heartbeat within [`Rules::worker_known`], by id.
    async fn workers(&self) -> StoreResult<Vec<SeenWorker>>;

    /// The fleet's secret for the ids of jobs with idempotency keys. The first call creates it. It has no time to live.
    async fn key_secret(&self) -> StoreResult<KeySecret>;

    /// The seed of the key that signs the fleet's webhooks. The first call creates it. It has no time to live.
    async fn webhook_seed(&self) -> StoreResult<KeySecret>;

    /// Leases deliveries that are due: the most overdue one of each partition. Each lease lasts
    /// [`Rules::webhook_lease`]; then the next try is due, because the process may have died. A delivery whose last
    /// allowed try has expired is given up.
    async fn take_deliveries(&self) -> StoreResult<Vec<Delivery>>;

    /// Reports the try `number` of a delivery. An acknowledgement ends the delivery, also if a newer try was leased. A
    /// failure makes the next try due later, and the last failure gives up. A repeated report changes nothing. Until
    /// the delivery is over the job does not expire, except after [`Rules::webhook_ttl`]; then its time to live begins.
    async fn settle_delivery(&self, id: JobId, number: u32, report: Report) -> StoreResult<Settled>;

    /// A job's state; `None` if the job does not exist.
    async fn status(&self, id: JobId) -> StoreResult<Option<JobState>>;

    /// The tenant of a job; `None` if the job does not exist.
    async fn tenant_of(&self, id: JobId) -> StoreResult<Option<String>> {
        Ok(self.status(id).await?.map(|state| state.tenant))
    }

    /// A job as it was submitted; `None` if the job does not exist. It may have megabytes of pictures.
    async fn job(&self, id: JobId) -> StoreResult<Option<Job>>;

    /// A job's state and an event of its log, read together. Only for callers that need the event, because it may have
    /// megabytes of pictures.
    async fn status_with(&self, id: JobId, shown: Shown) -> StoreResult<Option<(JobState, Option<Frame>)>>;

    /// A tenant's jobs, newest first; `None` if [`Listing::before`] is not one of them. Of an app's partition only the
    /// newest [`Rules::listed`] jobs are listed.
    async fn jobs(&self, listing: &Listing) -> StoreResult<Option<Vec<ListedJob>>>;

    /// The position of each of these jobs in the queue of `app`, as [`JobState::position`]; `None` for a job that does
    /// not wait there.
    async fn positions(&self, app: &App, ids: &[JobId]) -> StoreResult<Vec<Option<u64>>>;

    /// How many jobs of an app wait, and how long its jobs take.
    async fn waiting(&self, app: &App) -> StoreResult<Waiting>;

    /// A job's events after `after`; `None` starts with the first event in the log. Delivers every event that the log
    /// holds; the log of an ended job holds only the terminal event. The stream always ends: after the terminal event,
    /// or after [`Followed::Lost`]. It survives outages of the store.
    fn follow(&self, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed>;

    /// Ids of running jobs of `app` that are cancelled. Best effort: a worker also learns of a cancel from its next
    /// publish or renew.
    fn cancellations(&self, app: &App) -> BoxStream<'static, JobId>;

    /// Running jobs of `app` that should finish early, each with the step of [`Hold::FinishEarly`]. Best effort, as
    /// [`Store::cancellations`].
    fn early_finishes(&self, app: &App) -> BoxStream<'static, (JobId, u32)>;

    /// Deletes an ended job with the delivery of its webhook, as its expiry does.
    async fn forget(&self, id: JobId) -> StoreResult<()>;
}
