//! The store in Redis, for a fleet: one server, a master that sentinels watch, or a cluster; 7.0 or later.
//!
//! ```text
//! mod.rs       RedisStore: the contract, each command handed to the file that knows it
//! config.rs    the URL and the prefix              keys.rs     every name in Redis
//! nodes.rs     connections to those who hold a key  scripts.rs  the Lua files and their outcomes
//! discovery.rs asking who that is, in a cluster or of sentinels
//! queue.rs     submit, claim, cancel               hold.rs     renew, publish, finish, release
//! reap.rs      the round of reaping
//! log.rs       a job's state and its log           roster.rs   the workers on record
//! wait.rs      blocking on a wake-up token        dead.rs     what was given up on
//! hub.rs       follow and cancellations            line.rs     one pub/sub connection
//! inbox.rs     what a listener has not taken yet   follower.rs one stream of a job's events
//! key_secret.rs  what ids of jobs with keys are made of
//! ```
//!
//! Each state change is one script and its event is part of it. A script reads and decides, then writes; if this
//! process dies at any point, Redis holds all of a change or nothing of it, and the command may be sent again.

mod backoff;
mod config;
mod dead;
mod discovery;
mod follower;
#[cfg(test)]
mod garbage;
mod hold;
mod hub;
mod inbox;
mod key_secret;
mod keys;
mod line;
mod log;
mod nodes;
mod queue;
mod reap;
mod roster;
mod scripts;
mod slots;
mod wait;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use config::{ConfigError, Prefix, RedisConfig, RedisUrl};

use self::{hub::Hub, keys::Keys, nodes::Nodes, wait::Waiting};
use super::{
    Cancel, Checkpoint, Claim, Clock, Ending, Finish, Hold, Lease, Preview, Reaped, Released, Retry, Rules,
    Shown, Store, Submit,
};
use crate::{
    error::StoreResult,
    event::{CancelledBy, Followed, Frame},
    id::{App, JobId, KeySecret, Micros, Seq},
    job::{DeadJob, Job, JobState, Release, SeenWorker, WorkerRecord},
    needs::Capabilities,
};

/// See the module.
pub struct RedisStore {
    door: Arc<Door>,
    waiting: Waiting,
    hub: Arc<Hub>,
}

/// What every command needs.
struct Door {
    nodes: Nodes,
    keys: Keys,
    rules: Rules,
    clock: Clock,
}

impl Door {
    /// The argument `now` of a script.
    fn now(&self) -> Option<Micros> {
        self.clock.fixed()
    }
}

impl RedisStore {
    /// A store at `url`, all of whose names begin with `prefix`. Nothing is sent yet: a Redis that is away is
    /// found out by the first command, which answers `Unavailable`.
    pub fn connect(url: &RedisUrl, prefix: &Prefix, rules: Rules, clock: Clock) -> Result<Self, ConfigError> {
        let nodes = Nodes::new(url.target()?);
        let door = Arc::new(Door { nodes, keys: Keys::new(prefix.clone()), rules, clock });
        Ok(Self { waiting: Waiting::default(), hub: Arc::new(Hub::new(door.clone())), door })
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn submit(&self, job: &Job) -> StoreResult<Submit> {
        self.door.submit(job).await
    }

    async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>> {
        self.door.try_claim(claim).await
    }

    async fn wait_for_work(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.waiting.wait(&self.door, app, capabilities).await
    }

    async fn wake(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.door.wake(app, capabilities).await
    }

    async fn renew(&self, lease: &Lease, checkpoint: Option<&Checkpoint>) -> StoreResult<Hold> {
        self.door.renew(lease, checkpoint).await
    }

    async fn publish(&self, lease: &mut Lease, preview: &Preview) -> StoreResult<Hold> {
        self.door.publish(lease, preview).await
    }

    async fn finish(&self, lease: &mut Lease, ending: &Ending) -> StoreResult<Finish> {
        self.door.finish(lease, ending).await
    }

    async fn release(&self, lease: &Lease, release: &Release) -> StoreResult<Released> {
        self.door.release(lease, release).await
    }

    async fn cancel(&self, id: JobId, by: CancelledBy) -> StoreResult<Cancel> {
        self.door.cancel(id, by).await
    }

    async fn dead(&self, app: Option<&App>) -> StoreResult<Vec<DeadJob>> {
        self.door.dead(app).await
    }

    async fn retry(&self, id: JobId) -> StoreResult<Retry> {
        self.door.retry(id).await
    }

    async fn reap(&self, seen: Micros) -> StoreResult<Reaped> {
        self.door.reap(seen).await
    }

    async fn now(&self) -> StoreResult<Micros> {
        self.door.time().await
    }

    async fn heartbeat(&self, worker: &WorkerRecord) -> StoreResult<()> {
        self.door.heartbeat(worker).await
    }

    async fn workers(&self) -> StoreResult<Vec<SeenWorker>> {
        self.door.workers().await
    }

    async fn key_secret(&self) -> StoreResult<KeySecret> {
        self.door.key_secret().await
    }

    async fn status(&self, id: JobId) -> StoreResult<Option<JobState>> {
        self.door.status(id).await
    }

    async fn status_with(&self, id: JobId, shown: Shown) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        self.door.status_with(id, shown).await
    }

    fn follow(&self, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        Hub::follow(&self.hub, id, after)
    }

    fn cancellations(&self, app: &App) -> BoxStream<'static, JobId> {
        Hub::cancellations(&self.hub, app)
    }

    async fn forget(&self, id: JobId) -> StoreResult<()> {
        self.door.forget(id).await
    }
}
