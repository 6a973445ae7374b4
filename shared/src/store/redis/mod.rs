//! The store in Redis, for a fleet: one server, a master that sentinels watch, or a cluster; 7.0 or later.
//!
//! ```text
//! mod.rs       RedisStore: the contract, each command handed to the file that knows it
//! config.rs    the flags                           backend.rs  what every command needs
//! url.rs       the URL as it is written and shown  target.rs   what it says
//! keys.rs      every name in Redis                 scripts.rs  the Lua files and their outcomes
//! nodes.rs     connections to the node of a key    discovery.rs asks a cluster or sentinels for the nodes
//! pool.rs      the connections that commands share connection.rs one connection; failure.rs why a command failed
//! check.rs     the check at the start: greeting.rs identifies the servers, rights.rs checks the user's rights,
//!              obstacle.rs the faults, session.rs a connection before its login
//! queue.rs     submit, claim, cancel               hold.rs     renew, publish, finish, release
//! reap.rs      the reaping pass
//! log.rs       a job's state and its log           roster.rs   the workers on record
//! wait.rs      blocking on a wake-up token         dead.rs     the dead list
//! hub.rs       follow and cancellations            line.rs     one pub/sub connection
//! inbox.rs     messages that wait for a listener   follower.rs one stream of a job's events
//! key_secret.rs  the secret for the ids of jobs with keys
//! shape.rs     the shape of an answer, for errors
//! ```
//!
//! Each state change is one script and its event is part of it. A script reads and decides, then writes; if this
//! process dies at any point, Redis has all of a change or none of it, and the command may be repeated.

mod backend;
mod check;
mod config;
mod connection;
mod dead;
mod discovery;
mod failure;
mod follower;
#[cfg(test)]
mod garbage;
mod greeting;
mod hold;
mod hub;
mod inbox;
mod key_secret;
mod keys;
mod line;
mod log;
mod nodes;
mod obstacle;
mod pool;
mod queue;
mod reap;
mod rights;
mod roster;
mod scripts;
mod session;
mod shape;
mod slots;
mod target;
mod url;
mod wait;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use check::Check;
pub use config::{Prefix, RedisConfig};
pub use rights::Process;
pub use url::{ConfigError, RedisUrl};

use self::{backend::Backend, hub::Hub, keys::Keys, nodes::Nodes, wait::Waiting};
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
    backend: Arc<Backend>,
    waiting: Waiting,
    hub: Arc<Hub>,
}

impl RedisStore {
    /// A store at `url`, all of whose keys begin with `prefix`. Nothing is sent yet: if Redis is unreachable, the first
    /// command returns `Unavailable`.
    pub fn connect(url: &RedisUrl, prefix: &Prefix, rules: Rules, clock: Clock) -> Result<Self, ConfigError> {
        let nodes = Nodes::new(url.target()?);
        let backend = Arc::new(Backend { nodes, keys: Keys::new(prefix.clone()), rules, clock });
        Ok(Self { waiting: Waiting::default(), hub: Arc::new(Hub::new(backend.clone())), backend })
    }

    /// Checks whether the servers can serve this process: their version and kind, the database, the login, and the
    /// rights for everything that `process` does. Writes nothing.
    ///
    /// # Errors
    /// A permanent fault, with what to do about it. Servers that are unreachable, loading or replicas are not an error:
    /// the check continues.
    pub async fn check(&self, process: Process) -> Result<Check, ConfigError> {
        Check::begin(self.backend.clone(), process).await
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn submit(&self, job: &Job) -> StoreResult<Submit> {
        self.backend.submit(job).await
    }

    async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>> {
        self.backend.try_claim(claim).await
    }

    async fn wait_for_work(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.waiting.wait(&self.backend, app, capabilities).await
    }

    async fn wake(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.backend.wake(app, capabilities).await
    }

    async fn renew(&self, lease: &Lease, checkpoint: Option<&Checkpoint>) -> StoreResult<Hold> {
        self.backend.renew(lease, checkpoint).await
    }

    async fn publish(&self, lease: &mut Lease, preview: &Preview) -> StoreResult<Hold> {
        self.backend.publish(lease, preview).await
    }

    async fn finish(&self, lease: &mut Lease, ending: &Ending) -> StoreResult<Finish> {
        self.backend.finish(lease, ending).await
    }

    async fn release(&self, lease: &Lease, release: &Release) -> StoreResult<Released> {
        self.backend.release(lease, release).await
    }

    async fn cancel(&self, id: JobId, by: CancelledBy) -> StoreResult<Cancel> {
        self.backend.cancel(id, by).await
    }

    async fn dead(&self, app: Option<&App>) -> StoreResult<Vec<DeadJob>> {
        self.backend.dead(app).await
    }

    async fn retry(&self, id: JobId) -> StoreResult<Retry> {
        self.backend.retry(id).await
    }

    async fn reap(&self, seen: Micros) -> StoreResult<Reaped> {
        self.backend.reap(seen).await
    }

    async fn now(&self) -> StoreResult<Micros> {
        self.backend.time().await
    }

    async fn ready(&self) -> StoreResult<()> {
        self.backend.ready().await
    }

    async fn heartbeat(&self, worker: &WorkerRecord) -> StoreResult<()> {
        self.backend.heartbeat(worker).await
    }

    async fn workers(&self) -> StoreResult<Vec<SeenWorker>> {
        self.backend.workers().await
    }

    async fn key_secret(&self) -> StoreResult<KeySecret> {
        self.backend.key_secret().await
    }

    async fn status(&self, id: JobId) -> StoreResult<Option<JobState>> {
        self.backend.status(id).await
    }

    async fn status_with(&self, id: JobId, shown: Shown) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        self.backend.status_with(id, shown).await
    }

    fn follow(&self, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        Hub::follow(&self.hub, id, after)
    }

    fn cancellations(&self, app: &App) -> BoxStream<'static, JobId> {
        Hub::cancellations(&self.hub, app)
    }

    async fn forget(&self, id: JobId) -> StoreResult<()> {
        self.backend.forget(id).await
    }
}
