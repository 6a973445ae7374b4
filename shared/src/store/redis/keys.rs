//! The names of all keys and channels in Redis. Only this module builds them.
//!
//! `{p}` is the hash tag: all keys of an app and its jobs are in one slot.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `glimpse:{p}:job:<id>` | hash | the job and its state; see below |
//! | `glimpse:{p}:log:<id>` | stream | its events, entry id `<seq>-0`, field `e`: `<seq> <json>` |
//! | `glimpse:{p}:log:<id>` | channel | the same events; only `<seq> ` for an event above 256 KiB |
//! | `glimpse:{p}:ckpt:<id>` | string | the newest checkpoint: the worker's bytes |
//! | `glimpse:{p}:queue:<app>` | zset | queued jobs, scored by class x 2^51 + start in the queue's virtual time, in us |
//! | `glimpse:{p}:fair:<app>:<class>` | hash | the virtual time of one class of a queue: `now`, `last` (the latest finish), and `t:<tenant>`, the finish of the tenant's newest job |
//! | `glimpse:{p}:wake:<app>:<name>` | list | at most one token: for a worker with the capabilities of this name |
//! | `glimpse:{p}:wake:<app>` | list | at most one token: for any worker |
//! | `glimpse:{p}:looking:<app>` | zset | `<name> <pixels> <word> …`: capabilities of workers that claim, scored by their expiry in us |
//! | `glimpse:{p}:looking:<app>:<name>` | string | `<score> <until>`: where in a long queue their search starts |
//! | `glimpse:{p}:pace:<app>` | string | `<mean> <until>`: the mean time of the app's jobs, in us |
//! | `glimpse:{p}:due` | zset | unfinished jobs, scored by the time when reap must check them |
//! | `glimpse:{p}:dead` | zset | dead jobs, scored by the time of their end |
//! | `glimpse:{p}:hooks` | zset | ended jobs whose webhook must be called, scored by the time of the next try |
//! | `glimpse:{p}:jobs:<tenant>` | zset | a tenant's newest jobs, scored by `created` |
//! | `glimpse:{p}:places:<tenant>` | zset | a tenant's unfinished jobs, scored by the time when they were last checked |
//! | `glimpse:{p}:claim:<worker>` | string | `<number> <job> <attempt> <until>`: the worker's last claim that got a job |
//! | `glimpse:{p}:cancel` | channel | `<id> <app>` of a running job that is cancelled |
//! | `glimpse:workers` | hash | worker id -> `<last seen> <record>` |
//! | `glimpse:secret` | string | the secret for the ids of jobs with keys |
//! | `glimpse:webhook-seed` | string | the seed of the key that signs webhooks |
//! | `glimpse:format` | string | the highest number of a stored format that a process had: [`format`](super::format) |
//! | `glimpse:{glimpse:workers}:swept` | string | the time when silent workers were last removed from `glimpse:workers` |
//!
//! The fields of a job's hash:
//! - `job`: the job as JSON, which never changes. `app`, `tenant`, `digest`, `run_timeout`, `score`, `steps`,
//!   `retry_of` and `needs` repeat parts of it for scripts. A job of the previous release has no `tenant`.
//! - `status`, `attempt`, `faults`, `worker` and `seq`.
//! - `step`: the step of the attempt's newest preview. `first`: the seq of its first preview.
//! - `affinity`, and `passed`: how often the job was at the head of its queue and a worker claimed another one.
//! - `created`, `started`, `finished`, `start`, `run` and `lease`: times and deadlines in us.
//! - `places`: the key of the tenant's places, without a value for a job that is not counted.
//! - `webhook`: what is called at the end, as JSON. From the end on: `hook`, the job's time to live in ms after the
//!   delivery, without a value when it is over; `tries` and `failed`, the newest try and the newest that was reported as
//!   failed. A job of the previous release has none of them.
//!
//! A field without a value is the empty string. Only queue, due, dead, hooks, workers, secret, webhook-seed, format
//! and the wake-up list for any worker have no time to live.

use super::config::Prefix;
use crate::{
    id::{App, JobId, Partition, WorkerId},
    job::Job,
    needs::Capabilities,
};

/// The key names of a fleet.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Prefix,
}

/// The key names of one partition.
#[derive(Debug, Clone)]
pub(super) struct PartitionKeys {
    /// `glimpse:{p}:`
    stem: String,
}

impl Keys {
    pub(super) fn new(prefix: Prefix) -> Self {
        Self { prefix }
    }

    pub(super) fn of(&self, partition: Partition) -> PartitionKeys {
        PartitionKeys { stem: format!("{}:{{{partition}}}:", self.prefix) }
    }

    /// `None` for an id that no job of ours can have.
    pub(super) fn of_job(&self, id: JobId) -> Option<PartitionKeys> {
        id.partition().map(|partition| self.of(partition))
    }

    pub(super) fn of_app(&self, app: &App) -> PartitionKeys {
        self.of(app.partition())
    }

    pub(super) fn workers(&self) -> String {
        format!("{}:workers", self.prefix)
    }

    pub(super) fn secret(&self) -> String {
        format!("{}:secret", self.prefix)
    }

    pub(super) fn webhook_seed(&self) -> String {
        format!("{}:webhook-seed", self.prefix)
    }

    pub(super) fn format(&self) -> String {
        format!("{}:format", self.prefix)
    }

    /// In the same slot as [`Keys::workers`].
    pub(super) fn swept(&self) -> String {
        format!("{}:{{{}}}:swept", self.prefix, self.workers())
    }
}

impl PartitionKeys {
    pub(super) fn job(&self, id: JobId) -> String {
        format!("{}{id}", self.jobs())
    }

    /// The prefix of job keys.
    pub(super) fn jobs(&self) -> String {
        format!("{}job:", self.stem)
    }

    /// The name of the log and of its channel.
    pub(super) fn log(&self, id: JobId) -> String {
        format!("{}{id}", self.logs())
    }

    /// The prefix of log keys.
    pub(super) fn logs(&self) -> String {
        format!("{}log:", self.stem)
    }

    pub(super) fn checkpoint(&self, id: JobId) -> String {
        format!("{}{id}", self.checkpoints())
    }

    /// The prefix of checkpoint keys.
    pub(super) fn checkpoints(&self) -> String {
        format!("{}ckpt:", self.stem)
    }

    pub(super) fn queue(&self, app: &App) -> String {
        format!("{}queue:{app}", self.stem)
    }

    /// A queue that no app has: for a script that needs a queue key although its job is gone.
    pub(super) fn no_queue(&self) -> String {
        format!("{}queue:", self.stem)
    }

    pub(super) fn wake(&self, app: &App) -> String {
        format!("{}wake:{app}", self.stem)
    }

    /// As [`PartitionKeys::no_queue`].
    pub(super) fn no_wake(&self) -> String {
        format!("{}wake:", self.stem)
    }

    /// The list that workers with these capabilities block on. The scripts build this name too.
    pub(super) fn wake_of(&self, app: &App, capabilities: &Capabilities) -> String {
        format!("{}:{}", self.wake(app), capabilities.name())
    }

    pub(super) fn looking(&self, app: &App) -> String {
        format!("{}looking:{app}", self.stem)
    }

    /// As [`PartitionKeys::no_queue`].
    pub(super) fn no_looking(&self) -> String {
        format!("{}looking:", self.stem)
    }

    pub(super) fn pace(&self, app: &App) -> String {
        format!("{}pace:{app}", self.stem)
    }

    /// As [`PartitionKeys::no_queue`].
    pub(super) fn no_pace(&self) -> String {
        format!("{}pace:", self.stem)
    }

    /// The beginning of the names of the virtual times of an app's queue. The scripts add the class.
    pub(super) fn fair(&self, app: &App) -> String {
        format!("{}fair:{app}", self.stem)
    }

    pub(super) fn due(&self) -> String {
        format!("{}due", self.stem)
    }

    pub(super) fn dead(&self) -> String {
        format!("{}dead", self.stem)
    }

    pub(super) fn hooks(&self) -> String {
        format!("{}hooks", self.stem)
    }

    /// A tenant's jobs.
    pub(super) fn listed(&self, tenant: &str) -> String {
        format!("{}{tenant}", self.lists())
    }

    /// The prefix of the keys of tenants' jobs.
    pub(super) fn lists(&self) -> String {
        format!("{}jobs:", self.stem)
    }

    /// The unfinished jobs of a tenant.
    pub(super) fn places(&self, tenant: &str) -> String {
        format!("{}places:{tenant}", self.stem)
    }

    pub(super) fn claim(&self, worker: &WorkerId) -> String {
        format!("{}claim:{worker}", self.stem)
    }

    /// As [`PartitionKeys::no_queue`].
    pub(super) fn no_claim(&self) -> String {
        format!("{}claim:", self.stem)
    }

    /// The first keys of the scripts that put a new job into its queue.
    pub(super) fn entering(&self, job: &Job) -> [String; 11] {
        let (id, app) = (job.id, &job.app);
        [
            self.job(id),
            self.log(id),
            self.queue(app),
            self.due(),
            self.wake(app),
            self.checkpoint(id),
            self.pace(app),
            self.looking(app),
            self.listed(&job.tenant),
            self.places(&job.tenant),
            format!("{}:{}", self.fair(app), job.class.rank()),
        ]
    }

    /// The channel for cancelled running jobs.
    pub(super) fn cancel(&self) -> String {
        format!("{}cancel", self.stem)
    }
}
