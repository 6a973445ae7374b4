//! Every key and channel of the fleet in Redis; only this module builds them.
//!
//! `{p}` is the hash tag: all keys of an app and its jobs are in one slot.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `glimpse:{p}:job:<id>` | hash | the job and its state; see below |
//! | `glimpse:{p}:log:<id>` | stream | its events, entry id `<seq>-0`, field `e`: `<seq> <json>` |
//! | `glimpse:{p}:log:<id>` | channel | the same, at once; only `<seq> ` for events above 256 KB |
//! | `glimpse:{p}:ckpt:<id>` | string | the newest checkpoint: the worker's bytes |
//! | `glimpse:{p}:queue:<app>` | zset | queued jobs, scored by class x 2^51 + arrival in us |
//! | `glimpse:{p}:wake:<app>:<name>` | list | at most one token: for a worker with the capabilities of this name |
//! | `glimpse:{p}:wake:<app>` | list | at most one token: for any worker |
//! | `glimpse:{p}:looking:<app>` | zset | `<name> <pixels> <word> …`: capabilities of workers that claim, scored by until when they count |
//! | `glimpse:{p}:looking:<app>:<name>` | string | `<score> <until>`: where in a long queue their search begins |
//! | `glimpse:{p}:pace:<app>` | string | `<mean> <until>`: how long the app's jobs take, in us |
//! | `glimpse:{p}:due` | zset | unfinished jobs, scored by when reap must check them |
//! | `glimpse:{p}:dead` | zset | dead jobs, scored by the time of their end |
//! | `glimpse:{p}:claim:<worker>` | string | `<number> <job> <attempt> <until>`: the worker's last answered claim |
//! | `glimpse:{p}:cancel` | channel | `<id> <app>` of a job that was cancelled while it ran |
//! | `glimpse:workers` | hash | worker id -> `<last seen> <record>` |
//! | `glimpse:secret` | string | the secret for the ids of jobs with keys |
//! | `glimpse:{glimpse:workers}:swept` | string | when silent workers were last removed from it |
//!
//! A job's hash: `job` (JSON, what never changes), `app`, `digest`, `run_timeout`, `score`, `steps`, `retry_of` and
//! `needs` (what of it scripts and readers of its state need; a job of the release before has no `needs`), `status`,
//! `attempt`, `faults`, `worker`, `seq`, `step` and `first` (the attempt's newest preview's step and first preview's
//! seq), `affinity`, `passed` (how often it was the head of its queue and another was taken), `created`, `started`,
//! `finished`, `start`, `run` and `lease` (times and deadlines in us). A field without a value is the empty string.
//!
//! Only queue, due, dead, workers, secret and the wake-up list for any worker have no time to live.

use super::config::Prefix;
use crate::{
    id::{App, JobId, Partition, WorkerId},
    job::Job,
    needs::Capabilities,
};

/// The names of a fleet.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Prefix,
}

/// The names of one partition.
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

    /// `None` for an id that none of our jobs can have.
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

    /// In the same slot as the workers.
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

    /// The log and the channel.
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

    /// A queue that no app has, for a script that needs one when the job that would name it is gone.
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

    /// The list that workers with these capabilities block on; the scripts build this name too.
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

    pub(super) fn due(&self) -> String {
        format!("{}due", self.stem)
    }

    pub(super) fn dead(&self) -> String {
        format!("{}dead", self.stem)
    }

    pub(super) fn claim(&self, worker: &WorkerId) -> String {
        format!("{}claim:{worker}", self.stem)
    }

    /// As [`PartitionKeys::no_queue`].
    pub(super) fn no_claim(&self) -> String {
        format!("{}claim:", self.stem)
    }

    /// The keys of a new job: the first keys of the scripts that queue one.
    pub(super) fn entering(&self, job: &Job) -> [String; 8] {
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
        ]
    }

    /// The channel of cancelled jobs.
    pub(super) fn cancel(&self) -> String {
        format!("{}cancel", self.stem)
    }
}
