//! A store with outages and errors.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use glimpse_shared::{
    error::{StoreError, StoreResult},
    event::{CancelledBy, Followed, Frame},
    id::{App, JobId, KeySecret, Micros, Seq},
    job::{DeadJob, Job, JobState, Release, SeenWorker, WorkerRecord},
    needs::Capabilities,
    store::{
        Cancel, Checkpoint, Claim, Ending, Finish, FinishEarly, Hold, Lease, ListedJob, Listing, Preview,
        Quota, Reaped, Released, Retry, SharedStore, Shown, Store, Submit, Waiting,
    },
    webhook::{Delivery, Report, Settled},
};
use tokio::sync::watch;

/// Passes all commands on while it is `up`. Otherwise it is unavailable.
pub struct Flaky {
    pub store: SharedStore,
    pub up: AtomicBool,
    pub refused: AtomicUsize,
    /// The next claim is executed, but its answer is lost.
    pub claim_unanswered: AtomicBool,
    /// The command that gets a permanent error.
    pub corrupt: Mutex<Option<&'static str>>,
    /// Renewals that were sent with a checkpoint.
    pub checkpoints_sent: AtomicUsize,
    /// The newest stored checkpoint.
    pub kept: Mutex<Option<Checkpoint>>,
    /// While it is true, no finish is executed.
    pub holds_finishes: watch::Sender<bool>,
    /// Finishes that were sent.
    pub finishes: AtomicUsize,
    /// The jobs that were returned to the queue, and why.
    pub released: Mutex<Vec<(JobId, Release)>>,
}

impl Flaky {
    pub fn new(store: SharedStore, up: bool) -> Self {
        Self {
            store,
            up: up.into(),
            refused: AtomicUsize::new(0),
            claim_unanswered: false.into(),
            corrupt: Mutex::default(),
            checkpoints_sent: AtomicUsize::new(0),
            kept: Mutex::default(),
            holds_finishes: watch::Sender::new(false),
            finishes: AtomicUsize::new(0),
            released: Mutex::default(),
        }
    }

    /// As [`Flaky::open`], for a command that may get a permanent error.
    fn sound(&self, command: &'static str) -> StoreResult<&SharedStore> {
        if *self.corrupt.lock().unwrap() == Some(command) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Corrupt(format!("{command} answers garbage")));
        }
        self.open()
    }

    fn open(&self) -> StoreResult<&SharedStore> {
        if self.up.load(Ordering::SeqCst) {
            return Ok(&self.store);
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(StoreError::Unavailable("the store of the test is down".to_owned()))
    }
}

#[async_trait]
impl Store for Flaky {
    async fn submit_within(&self, job: &Job, quota: Quota) -> StoreResult<Submit> {
        self.open()?.submit_within(job, quota).await
    }
    async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>> {
        let lease = self.open()?.try_claim(claim).await?;
        if lease.is_some() && self.claim_unanswered.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the answer was lost".to_owned()));
        }
        if lease.is_some() {
            self.sound("claim")?;
        }
        Ok(lease)
    }
    async fn wait_for_work(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.open()?.wait_for_work(app, capabilities).await
    }
    async fn wake(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.open()?.wake(app, capabilities).await
    }
    async fn renew(&self, lease: &Lease, checkpoint: Option<&Checkpoint>) -> StoreResult<Hold> {
        if checkpoint.is_some() {
            self.checkpoints_sent.fetch_add(1, Ordering::SeqCst);
            self.sound("renew with a checkpoint")?;
        }
        let hold = self.sound("renew")?.renew(lease, checkpoint).await?;
        if let (true, Some(checkpoint)) = (hold.is_held(), checkpoint) {
            *self.kept.lock().unwrap() = Some(checkpoint.clone());
        }
        Ok(hold)
    }
    async fn publish(&self, lease: &mut Lease, preview: &Preview) -> StoreResult<Hold> {
        self.open()?.publish(lease, preview).await
    }
    async fn finish(&self, lease: &mut Lease, ending: &Ending) -> StoreResult<Finish> {
        self.finishes.fetch_add(1, Ordering::SeqCst);
        self.holds_finishes.subscribe().wait_for(|holds| !holds).await.unwrap();
        self.sound("finish")?.finish(lease, ending).await
    }
    async fn release(&self, lease: &Lease, release: &Release) -> StoreResult<Released> {
        self.released.lock().unwrap().push((lease.job.id, release.clone()));
        self.sound("release")?.release(lease, release).await
    }
    async fn cancel(&self, id: JobId, by: CancelledBy) -> StoreResult<Cancel> {
        self.open()?.cancel(id, by).await
    }
    async fn finish_early(&self, id: JobId) -> StoreResult<FinishEarly> {
        self.open()?.finish_early(id).await
    }
    async fn job(&self, id: JobId) -> StoreResult<Option<Job>> {
        self.open()?.job(id).await
    }
    async fn dead(&self, app: Option<&App>) -> StoreResult<Vec<DeadJob>> {
        self.open()?.dead(app).await
    }
    async fn retry(&self, id: JobId) -> StoreResult<Retry> {
        self.open()?.retry(id).await
    }
    async fn reap(&self, seen: Micros) -> StoreResult<Reaped> {
        self.open()?.reap(seen).await
    }
    async fn now(&self) -> StoreResult<Micros> {
        self.open()?.now().await
    }
    async fn heartbeat(&self, worker: &WorkerRecord) -> StoreResult<()> {
        self.open()?.heartbeat(worker).await
    }
    async fn workers(&self) -> StoreResult<Vec<SeenWorker>> {
        self.open()?.workers().await
    }
    async fn key_secret(&self) -> StoreResult<KeySecret> {
        self.open()?.key_secret().await
    }
    async fn webhook_seed(&self) -> StoreResult<KeySecret> {
        self.open()?.webhook_seed().await
    }
    async fn take_deliveries(&self) -> StoreResult<Vec<Delivery>> {
        self.open()?.take_deliveries().await
    }
    async fn settle_delivery(&self, id: JobId, number: u32, report: Report) -> StoreResult<Settled> {
        self.open()?.settle_delivery(id, number, report).await
    }
    async fn status(&self, id: JobId) -> StoreResult<Option<JobState>> {
        self.open()?.status(id).await
    }
    async fn status_with(&self, id: JobId, shown: Shown) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        self.open()?.status_with(id, shown).await
    }
    async fn jobs(&self, listing: &Listing) -> StoreResult<Option<Vec<ListedJob>>> {
        self.open()?.jobs(listing).await
    }
    async fn positions(&self, app: &App, ids: &[JobId]) -> StoreResult<Vec<Option<u64>>> {
        self.open()?.positions(app, ids).await
    }
    async fn waiting(&self, app: &App) -> StoreResult<Waiting> {
        self.open()?.waiting(app).await
    }
    fn follow(&self, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        self.store.follow(id, after)
    }
    fn cancellations(&self, app: &App) -> BoxStream<'static, JobId> {
        // The message is lost: the worker sees a cancel only at its next publish or renew.
        let _ = app;
        Box::pin(futures::stream::pending())
    }
    fn early_finishes(&self, app: &App) -> BoxStream<'static, (JobId, u32)> {
        // As a cancellation.
        let _ = app;
        Box::pin(futures::stream::pending())
    }
    async fn forget(&self, id: JobId) -> StoreResult<()> {
        self.open()?.forget(id).await
    }
}
