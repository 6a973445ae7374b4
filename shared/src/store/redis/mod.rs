//! The store in Redis, for a fleet: one server, a master with sentinels, or a cluster; Redis 7.0 or later.
//!
//! ```text
//! mod.rs         RedisStore                           backend.rs     the state that every command needs
//! config.rs      the flags                            keys.rs        the names of all keys and channels
//! url.rs         the URL as it is written and shown   target.rs      the parsed URL
//! scripts.rs     the Lua scripts and their replies    shape.rs       the shape of a reply, for errors
//! nodes.rs       the node of a key, its connections   slots.rs       the slot map
//! discovery.rs   fetches the slot map                 pool.rs        the connections of commands
//! connection.rs  opens a connection                   failure.rs     why a command failed
//! check.rs       the check at the start               check_error.rs its errors
//! greeting.rs    checks kind, version and login       rights.rs      checks the user's rights
//! session.rs     a connection before its login        key_secret.rs  the fleet's secrets
//! queue.rs       submit, claim, cancel                hold.rs        renew, publish, finish, release
//! reap.rs        the reaping pass                     dead.rs        the dead list
//! log.rs         a job's state and its log            list.rs        a tenant's jobs, an app's queue
//! roster.rs      the registered workers               wait.rs        blocking on a wake-up token
//! hub.rs         follow and cancellations             pub_sub.rs     one pub/sub connection
//! inbox.rs       the received messages of a listener  follower.rs    one stream of a job's events
//! deliveries.rs  the calls of webhooks                garbage.rs     fuzz tests of the replies
//! unreadable.rs  skips unreadable data, with a warning  examine.rs  what glimpse doctor reads
//! format.rs      the number of the stored format
//! ```
//!
//! Each state change and its event are one script. A script first reads and decides, then writes. If this process dies,
//! Redis has the whole change or none of it, and the command may be repeated.

mod backend;
mod check;
mod check_error;
mod config;
mod connection;
mod dead;
mod deliveries;
mod discovery;
mod examine;
mod failure;
mod follower;
mod format;
#[cfg(test)]
mod garbage;
mod greeting;
mod hold;
mod hub;
mod inbox;
mod key_secret;
mod keys;
mod list;
mod log;
mod nodes;
mod pool;
mod process;
mod pub_sub;
mod queue;
mod reap;
mod rights;
mod roster;
mod scripts;
mod session;
mod shape;
mod slots;
mod target;
mod unreadable;
mod url;
mod wait;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use check::Check;
pub use config::{Prefix, RedisConfig};
pub use examine::{ClockDifference, Examined, Persistence};
pub use process::Process;
pub use url::{ConfigError, RedisUrl};

use self::{
    backend::Backend, hub::Hub, keys::Keys, nodes::Nodes, unreadable::Unreadable, wait::WakeConnections,
};
use super::{
    Cancel, Checkpoint, Claim, Clock, Ending, Finish, FinishEarly, Hold, Lease, ListedJob, Listing, Preview,
    Quota, Reaped, Released, Retry, Rules, Shown, Store, Submit, Waiting,
};
use crate::{
    error::StoreResult,
    event::{CancelledBy, Followed, Frame},
    id::{App, JobId, KeySecret, Micros, Seq},
    job::{DeadJob, Job, JobState, Release, SeenWorker, WorkerRecord},
    metrics::{Metrics, Role},
    needs::Capabilities,
    webhook::{Delivery, Report, Settled},
};

/// See the module.
pub struct RedisStore {
    backend: Arc<Backend>,
    wake_connections: WakeConnections,
    hub: Arc<Hub>,
}

impl RedisStore {
    /// A store at `url`. All its keys begin with `prefix`. This sends nothing: if Redis is unreachable, the first
    /// command returns `Unavailable`.
    pub fn connect(url: &RedisUrl, prefix: &Prefix, rules: Rules, clock: Clock) -> Result<Self, ConfigError> {
        Self::measured(url, prefix, rules, clock, Metrics::new(Role::Worker))
    }

    /// The same, which counts the jobs that end with its commands, and measures its commands.
    pub fn measured(
        url: &RedisUrl,
        prefix: &Prefix,
        rules: Rules,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, ConfigError> {
        let nodes = Nodes::new(url.target()?, metrics.redis.clone());
        let backend = Arc::new(Backend {
            nodes,
            keys: Keys::new(prefix.clone()),
            rules,
            clock,
            process: OnceLock::new(),
            unreadable: Unreadable::default(),
            metrics,
        });
        Ok(Self {
            wake_connections: WakeConnections::default(),
            hub: Arc::new(Hub::new(backend.clone())),
            backend,
        })
    }

    /// Checks whether the servers can serve this process: their version and kind, the database, the login, and all
    /// rights that `process` needs. Writes nothing.
    ///
    /// # Errors
    /// A permanent error, with what to do about it. An unreachable or loading server and a replica are temporary
    /// errors: the check continues.
    pub async fn check(&self, process: Process) -> Result<Check, ConfigError> {
        // Only the first check counts: a process has one role.
        let _ = self.backend.process.set(process);
        Check::begin(self.backend.clone(), process).await
    }

    /// Runs the check for an API and a worker once, and reads what an operator should know. Writes nothing.
    ///
    /// # Errors
    /// Why the servers cannot serve a fleet now, with what to do about it where that is known. No password is in it.
    pub async fn examine(&self) -> Result<Examined, ConfigError> {
        self.backend.examine().await.map_err(|error| ConfigError::new(error.text()))
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn submit_within(&self, job: &Job, quota: Quota) -> StoreResult<Submit> {
        self.backend.submit(job, quota).await
    }

    async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>> {
        self.backend.try_claim(claim).await
    }

    async fn wait_for_work(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.wake_connections.wait(&self.backend, app, capabilities).await
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

    async fn finish_early(&self, id: JobId) -> StoreResult<FinishEarly> {
        self.backend.finish_early(id).await
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

    async fn webhook_seed(&self) -> StoreResult<KeySecret> {
        self.backend.webhook_seed().await
    }

    async fn take_deliveries(&self) -> StoreResult<Vec<Delivery>> {
        self.backend.take_deliveries().await
    }

    async fn settle_delivery(&self, id: JobId, number: u32, report: Report) -> StoreResult<Settled> {
        self.backend.settle_delivery(id, number, report).await
    }

    async fn status(&self, id: JobId) -> StoreResult<Option<JobState>> {
        self.backend.status(id).await
    }

    async fn tenant_of(&self, id: JobId) -> StoreResult<Option<String>> {
        self.backend.tenant_of(id).await
    }

    async fn job(&self, id: JobId) -> StoreResult<Option<Job>> {
        Ok(self.backend.job_and_json(id).await?.map(|(job, _)| job))
    }

    async fn status_with(&self, id: JobId, shown: Shown) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        self.backend.status_with(id, shown).await
    }

    async fn jobs(&self, listing: &Listing) -> StoreResult<Option<Vec<ListedJob>>> {
        self.backend.jobs(listing).await
    }

    async fn positions(&self, app: &App, ids: &[JobId]) -> StoreResult<Vec<Option<u64>>> {
        self.backend.positions(app, ids).await
    }

    async fn waiting(&self, app: &App) -> StoreResult<Waiting> {
        self.backend.waiting(app).await
    }

    fn follow(&self, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        Hub::follow(&self.hub, id, after)
    }

    fn cancellations(&self, app: &App) -> BoxStream<'static, JobId> {
        Hub::cancellations(&self.hub, app)
    }

    fn early_finishes(&self, app: &App) -> BoxStream<'static, (JobId, u32)> {
        Hub::early_finishes(&self.hub, app)
    }

    async fn forget(&self, id: JobId) -> StoreResult<()> {
        self.backend.forget(id).await
    }
}
