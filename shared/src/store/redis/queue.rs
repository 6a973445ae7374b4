//! Commands without a lease: submit, claim, cancel, forget.

use std::time::Duration;

use redis::Value;

use super::{
    backend::Backend,
    deliveries::stored_webhook,
    failure::Failure,
    scripts::{
        ACTIVE, CANCEL, CLAIM, Call, FINISH_EARLY, FORGET, NOW, SUBMIT, ScriptReply, number, unexpected,
    },
    shape::{bad_json, read_as},
};
use crate::{
    error::{StoreError, StoreResult},
    event::{CancelledBy, Event, ascii_json},
    id::{JobId, Micros, Partition},
    job::{ANONYMOUS, Job, Status, exhausted_message},
    store::{Cancel, Claim, FinishEarly, Lease, Quota, Submit},
};

/// How long an unfinished job is kept after its deadlines: a fleet that was down can still end it.
const BEYOND_DEADLINES: Duration = Duration::from_secs(3600);
/// How long a value with its own expiry time (a claim, a pace) is kept after that time. The scripts compare the expiry
/// time; the time to live only cleans up.
pub(super) const BEYOND_CLOCK: Duration = Duration::from_secs(60);

impl Backend {
    pub(super) async fn submit(&self, job: &Job, quota: Quota) -> StoreResult<Submit> {
        let keys = self.keys.of_app(&job.app);
        if job.id.partition() != Some(job.app.partition()) {
            return Err(StoreError::Corrupt(format!("{} cannot be a job of {}", job.id, job.app)));
        }
        let json = match job.spec.image() {
            None => ascii_json(job),
            // Serialising megabytes would block a thread that serves streams.
            Some(_) => {
                let job = job.clone();
                let json = tokio::task::spawn_blocking(move || ascii_json(&job)).await;
                json.map_err(|error| StoreError::Unavailable(format!("cannot serialise the job: {error}")))?
            }
        };
        let elsewhere = match quota.unfinished {
            Some(_) => self.unfinished_elsewhere(job).await?,
            None => 0,
        };
        let call = self.entering(SUBMIT.keys(keys.entering(job)), job, &json, (quota, elsewhere));
        let wanted = self.rules.submit_replicas;
        match call.run_replicated(&self.nodes, wanted).await? {
            (ScriptReply::Submitted { .. }, replicas) if replicas < wanted => {
                Ok(Submit::Unconfirmed { replicas })
            }
            (ScriptReply::Submitted { position }, _) => Ok(Submit::Submitted { position }),
            (ScriptReply::Duplicate, _) => Ok(Submit::Duplicate),
            (ScriptReply::Conflict, _) => Ok(Submit::Conflict),
            (ScriptReply::Crowded { unfinished, pace }, _) => Ok(Submit::Crowded { unfinished, pace }),
            (ScriptReply::Full { waiting, pace }, _) => Ok(Submit::Full { waiting, pace }),
            (other, _) => unexpected(other),
        }
    }

    /// How many unfinished jobs the job's tenant has in other partitions than the job's.
    async fn unfinished_elsewhere(&self, job: &Job) -> StoreResult<u64> {
        let own = job.app.partition();
        let counts = Partition::all().filter(|partition| *partition != own).map(|partition| async move {
            let keys = self.keys.of(partition);
            let jobs = keys.jobs();
            let call = ACTIVE.keys([keys.places(&job.tenant)]).now(self.now()).text(&jobs);
            active(call.read(&self.nodes).await?)
        });
        Ok(futures::future::try_join_all(counts).await?.iter().sum())
    }

    /// The first arguments of the scripts that put a new job into its queue. `quota`, and how many unfinished jobs the
    /// tenant has in other partitions.
    pub(super) fn entering<'a>(
        &self,
        call: Call<'a>,
        job: &'a Job,
        json: &'a str,
        (quota, elsewhere): (Quota, u64),
    ) -> Call<'a> {
        let most = match quota.unfinished {
            _ if job.tenant == ANONYMOUS => String::new(),
            Some(most) => most.to_string(),
            None => "-".to_owned(),
        };
        call.now(self.now())
            .value(job.id)
            .value(self.rules.queue_limit)
            .text(json)
            .text(job.app.as_str())
            .text(&job.digest)
            .value(job.class.rank())
            .value(job.start_timeout.as_micros())
            .value(job.run_timeout.as_micros())
            .value(ttl(job))
            .text(job.affinity.as_deref().unwrap_or_default())
            .value(job.spec.steps_to_take())
            .value(job.retry_of.map_or_else(String::new, |id| id.to_string()))
            .value(&job.needs)
            .text(job.spec.prompt())
            .text(&job.tenant)
            .value(self.rules.listed)
            // As long as the last of the jobs can exist.
            .value(
                ttl(job) + millis(self.rules.ended_ttl.max(self.rules.dead_ttl).max(self.rules.webhook_ttl)),
            )
            .value(stored_webhook(job))
            .value(most)
            .value(elsewhere)
            .value(self.keys.of_app(&job.app).jobs())
            .value(job.charge())
            .text(if job.spec.has_previews() { "" } else { "1" })
    }

    pub(super) async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>> {
        let keys = self.keys.of_app(&claim.app);
        let (jobs, logs, checkpoints) = (keys.jobs(), keys.logs(), keys.checkpoints());
        let call = CLAIM
            .keys([
                keys.queue(&claim.app),
                keys.wake(&claim.app),
                keys.due(),
                keys.claim(&claim.worker),
                keys.looking(&claim.app),
                keys.fair(&claim.app),
            ])
            .now(self.now())
            .text(claim.worker.as_str())
            .value(claim.number)
            .value(self.rules.lease.as_micros())
            .text(&jobs)
            .text(&logs)
            .text(&checkpoints)
            .value(millis(self.rules.lease + BEYOND_CLOCK))
            .text(claim.affinity.as_deref().unwrap_or_default())
            .value(self.rules.affinity_reach)
            .value(self.rules.passed_over)
            .value(claim.capabilities.name())
            .value(&claim.capabilities)
            .value(self.rules.worker_known.as_micros())
            .value(millis(self.rules.worker_known + BEYOND_CLOCK));
        match call.run(&self.nodes).await? {
            ScriptReply::Claimed { job, attempt, seq, finish_early, checkpoint } => {
                let job = serde_json::from_str(&job).map_err(|error| bad_json("a job", &error))?;
                let worker = claim.worker.clone();
                Ok(Some(Lease { job, attempt, worker, checkpoint, finish_early, seq }))
            }
            ScriptReply::None => Ok(None),
            other => unexpected(other),
        }
    }

    pub(super) async fn cancel(&self, id: JobId, by: CancelledBy) -> StoreResult<Cancel> {
        // The queue is a key of the script, so the job's app is read first. It never changes.
        let Some(app) = self.app_of(id).await? else { return Ok(Cancel::Unknown) };
        let keys = self.keys.of_app(&app);
        let json = Event::Cancelled { by }.to_json();
        let call = CANCEL
            .keys([
                keys.job(id),
                keys.log(id),
                keys.queue(&app),
                keys.due(),
                keys.checkpoint(id),
                keys.cancel(),
                keys.hooks(),
            ])
            .now(self.now())
            .value(id)
            .text(app.as_str())
            .text(&json)
            .value(millis(self.rules.ended_ttl))
            .value(millis(self.rules.webhook_ttl));
        match call.run(&self.nodes).await? {
            ScriptReply::Cancelled => {
                self.metrics.jobs.ended(&app, Status::Cancelled);
                Ok(Cancel::Cancelled)
            }
            ScriptReply::AlreadyDone(status) => Ok(Cancel::AlreadyDone(status)),
            ScriptReply::Unknown => Ok(Cancel::Unknown),
            other => unexpected(other),
        }
    }

    pub(super) async fn finish_early(&self, id: JobId) -> StoreResult<FinishEarly> {
        let Some(keys) = self.keys.of_job(id) else { return Ok(FinishEarly::Unknown) };
        let call = FINISH_EARLY.keys([keys.job(id), keys.cancel()]).value(id);
        match call.run(&self.nodes).await? {
            ScriptReply::Asked => Ok(FinishEarly::Asked),
            ScriptReply::TooEarly => Ok(FinishEarly::TooEarly),
            ScriptReply::AlreadyDone(status) => Ok(FinishEarly::AlreadyDone(status)),
            ScriptReply::Unknown => Ok(FinishEarly::Unknown),
            other => unexpected(other),
        }
    }

    /// The last arguments of the scripts that can put a job on the dead list.
    pub(super) fn with_dead_list_limits<'a>(&self, call: Call<'a>) -> Call<'a> {
        call.value(millis(self.rules.dead_ttl))
            .value(self.rules.dead_kept)
            .value(millis(self.rules.webhook_ttl))
    }

    pub(super) async fn forget(&self, id: JobId) -> StoreResult<()> {
        let Some(keys) = self.keys.of_job(id) else { return Ok(()) };
        let lists = keys.lists();
        let call =
            FORGET.keys([keys.job(id), keys.log(id), keys.dead(), keys.hooks()]).value(id).text(&lists);
        match call.run(&self.nodes).await? {
            ScriptReply::Done => Ok(()),
            other => unexpected(other),
        }
    }

    /// Redis' time, if the server accepts writes. In a cluster it is the time of the first partition's node: the clocks
    /// of the nodes must differ by much less than [`Rules::reap_within`](crate::store::Rules::reap_within).
    pub(super) async fn time(&self) -> StoreResult<Micros> {
        if let Some(now) = self.now() {
            return Ok(now);
        }
        clock(NOW.keys([self.first_key()]).read(&self.nodes).await?)
    }

    /// Whether the server accepts writes.
    pub(super) async fn writes(&self) -> Result<(), Failure> {
        NOW.keys([self.first_key()]).query(&self.nodes).await.map(drop)
    }

    /// A key of the first partition.
    pub(super) fn first_key(&self) -> String {
        Partition::all().next().map(|first| self.keys.of(first).due()).unwrap_or_default()
    }
}

/// Reads the reply of `active`.
pub(super) fn active(answer: Value) -> StoreResult<u64> {
    let count: String = read_as("the number of a tenant's jobs", answer)?;
    number(&count)
}

/// Reads the reply of `now`.
pub(super) fn clock(answer: Value) -> StoreResult<Micros> {
    let micros: String = read_as("the time", answer)?;
    Ok(Micros(number(&micros)?))
}

/// The `failed` event after the last attempt, split around the number of attempts. The script inserts the number.
pub(super) fn exhausted_around(reason: &str) -> (String, String) {
    let mark = u32::MAX;
    let (code, message) = exhausted_message(mark, reason);
    let json = Event::Failed { code, message }.to_json();
    // The number comes before the reason, so the first match is the right one.
    match json.split_once(&mark.to_string()) {
        Some((head, tail)) => (head.to_owned(), tail.to_owned()),
        None => (json, String::new()),
    }
}

/// The time to live of an unfinished job in milliseconds. Saturates: a retry's timeouts come from Redis and may be
/// huge.
pub(super) fn ttl(job: &Job) -> u128 {
    millis(job.start_timeout.saturating_add(job.run_timeout).saturating_add(BEYOND_DEADLINES))
}

/// A time to live in whole milliseconds, at least 1.
pub(super) fn millis(duration: Duration) -> u128 {
    duration.as_millis().max(1)
}
