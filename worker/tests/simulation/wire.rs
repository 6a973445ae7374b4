//! A process's connection to the store, with its faults.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use glimpse_shared::{
    error::{StoreError, StoreResult},
    event::{CancelledBy, Followed, Frame},
    id::{App, JobId, KeySecret, Micros, Seq},
    job::{DeadJob, Job, JobState, Release, SeenWorker, WorkerRecord},
    needs::Capabilities,
    store::{
        Cancel, Checkpoint, Claim, Ending, Finish, FinishEarly, Hold, Lease, ListedJob, Listing, Preview,
        Quota, Reaped, Released, Retry, Shown, Store, Submit, Waiting, memory::MemoryStore,
    },
    webhook::{Delivery, Report, Settled},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{chance::Chance, world::World};

/// The timeout of a command, as in the Redis store.
const COMMAND: Duration = Duration::from_secs(5);

/// The state of a process.
#[derive(Default)]
pub struct Process {
    dead: AtomicBool,
    frozen_until: Mutex<Option<Instant>>,
    drain_deadline: Mutex<Option<Instant>>,
    /// The number of its newest claim.
    claimed: Mutex<Option<u64>>,
    /// It has claimed since it last passed a wake-up on.
    may_hold_token: AtomicBool,
}

impl Process {
    /// Kills the process. Requests that it has sent still arrive.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// Freezes the process: it sends and receives nothing for this time.
    pub fn freeze(&self, long: Duration) {
        *self.frozen_until.lock().unwrap() = Some(Instant::now() + long);
    }

    /// Sets the deadline of its drain to now.
    pub fn drain_deadline(&self) {
        *self.drain_deadline.lock().unwrap() = Some(Instant::now());
    }

    /// Whether a wake-up may end with it.
    pub fn may_hold_token(&self) -> bool {
        self.may_hold_token.load(Ordering::SeqCst)
    }

    /// Waits for as long as the process is frozen: forever, if it is dead.
    pub async fn thawed(&self) {
        loop {
            if self.dead.load(Ordering::SeqCst) {
                pending::<()>().await;
            }
            let until = *self.frozen_until.lock().unwrap();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }
}

/// A process's connection to the store.
pub struct Wire {
    world: Arc<World>,
    process: Arc<Process>,
    chance: Mutex<Chance>,
}

type Answer<T> = BoxFuture<'static, T>;

impl Wire {
    pub fn new(world: Arc<World>, process: Arc<Process>, chance: Chance) -> Self {
        Self { world, process, chance: Mutex::new(chance) }
    }

    /// Sends a command. A command that is sent does not depend on its sender any more.
    async fn send<T: Send + 'static>(
        &self,
        ask: impl Fn(Arc<MemoryStore>) -> Answer<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.process.thawed().await;
        let fate = self.world.weather.fate(&mut self.chance.lock().unwrap());
        let (answer, answered) = oneshot::channel();
        let world = self.world.clone();
        tokio::spawn(async move {
            sleep(fate.there).await;
            if fate.arrives && world.weather.taken().await {
                world.tick();
                let got = ask(world.store.clone()).await;
                if let Some(later) = fate.again {
                    sleep(later).await;
                    world.tick();
                    ask(world.store.clone()).await;
                }
                sleep(fate.back).await;
                if fate.answered && world.weather.is_up() {
                    // The sender may have given up or died.
                    let _ = answer.send(got);
                    return;
                }
            }
            if fate.silent {
                sleep(COMMAND).await;
            }
        });
        let answer = timeout(COMMAND, answered).await;
        self.process.thawed().await;
        answer.ok().and_then(Result::ok).ok_or_else(away)
    }
}

impl Wire {
    /// What arrives of these messages, and when.
    fn heard<T: Send + 'static>(&self, told: BoxStream<'static, T>) -> BoxStream<'static, T> {
        let mut chance = self.chance.lock().unwrap().split();
        let (world, process) = (self.world.clone(), self.process.clone());
        told.filter_map(move |message| {
            let fate = world.weather.fate(&mut chance);
            let process = process.clone();
            async move {
                process.thawed().await;
                sleep(fate.back).await;
                fate.answered.then_some(message)
            }
        })
        .boxed()
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("the simulated connection broke".to_owned())
}

#[async_trait]
impl Store for Wire {
    async fn submit_within(&self, job: &Job, quota: Quota) -> StoreResult<Submit> {
        let job = job.clone();
        self.send(move |store| {
            let job = job.clone();
            Box::pin(async move { store.submit_within(&job, quota).await })
        })
        .await?
    }

    async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>> {
        let deadline = *self.process.drain_deadline.lock().unwrap();
        let again = self.process.claimed.lock().unwrap().replace(claim.number) == Some(claim.number);
        if deadline.is_some_and(|deadline| deadline < Instant::now()) && !again {
            self.world.broken(|| format!("{} drains and claims a new job", claim.worker));
        }
        self.process.may_hold_token.store(true, Ordering::SeqCst);
        let claim = claim.clone();
        self.send(move |store| {
            let claim = claim.clone();
            Box::pin(async move { store.try_claim(&claim).await })
        })
        .await?
    }

    async fn wait_for_work(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.process.thawed().await;
        if !self.world.weather.is_up() {
            sleep(Duration::from_millis(20)).await;
            return Err(away());
        }
        self.world.store.wait_for_work(app, capabilities).await?;
        // A caller that is dropped now loses the wake-up.
        let fate = self.world.weather.fate(&mut self.chance.lock().unwrap());
        sleep(fate.back).await;
        self.process.thawed().await;
        if fate.answered { Ok(()) } else { Err(away()) }
    }

    async fn wake(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.process.may_hold_token.store(false, Ordering::SeqCst);
        let to = (app.clone(), capabilities.clone());
        self.send(move |store| {
            let (app, capabilities) = to.clone();
            Box::pin(async move { store.wake(&app, &capabilities).await })
        })
        .await?
    }

    async fn renew(&self, lease: &Lease, checkpoint: Option<&Checkpoint>) -> StoreResult<Hold> {
        let (lease, checkpoint) = (lease.clone(), checkpoint.cloned());
        self.send(move |store| {
            let (lease, checkpoint) = (lease.clone(), checkpoint.clone());
            Box::pin(async move { store.renew(&lease, checkpoint.as_ref()).await })
        })
        .await?
    }

    async fn publish(&self, lease: &mut Lease, preview: &Preview) -> StoreResult<Hold> {
        let (sent, preview) = (lease.clone(), preview.clone());
        let (hold, answered) = self
            .send(move |store| {
                let (mut lease, preview) = (sent.clone(), preview.clone());
                Box::pin(async move { (store.publish(&mut lease, &preview).await, lease) })
            })
            .await?;
        *lease = answered;
        hold
    }

    async fn finish(&self, lease: &mut Lease, ending: &Ending) -> StoreResult<Finish> {
        let (sent, ending) = (lease.clone(), ending.clone());
        let (finish, answered) = self
            .send(move |store| {
                let (mut lease, ending) = (sent.clone(), ending.clone());
                Box::pin(async move { (store.finish(&mut lease, &ending).await, lease) })
            })
            .await?;
        *lease = answered;
        finish
    }

    async fn release(&self, lease: &Lease, release: &Release) -> StoreResult<Released> {
        let (lease, release) = (lease.clone(), release.clone());
        self.send(move |store| {
            let (lease, release) = (lease.clone(), release.clone());
            Box::pin(async move { store.release(&lease, &release).await })
        })
        .await?
    }

    async fn cancel(&self, id: JobId, by: CancelledBy) -> StoreResult<Cancel> {
        self.send(move |store| Box::pin(async move { store.cancel(id, by).await })).await?
    }

    async fn finish_early(&self, id: JobId) -> StoreResult<FinishEarly> {
        self.send(move |store| Box::pin(async move { store.finish_early(id).await })).await?
    }

    async fn reap(&self, seen: Micros) -> StoreResult<Reaped> {
        self.send(move |store| Box::pin(async move { store.reap(seen).await })).await?
    }

    async fn now(&self) -> StoreResult<Micros> {
        self.send(move |store| Box::pin(async move { store.now().await })).await?
    }

    async fn heartbeat(&self, worker: &WorkerRecord) -> StoreResult<()> {
        let worker = worker.clone();
        self.send(move |store| {
            let worker = worker.clone();
            Box::pin(async move { store.heartbeat(&worker).await })
        })
        .await?
    }

    async fn key_secret(&self) -> StoreResult<KeySecret> {
        self.world.store.key_secret().await
    }

    async fn webhook_seed(&self) -> StoreResult<KeySecret> {
        self.world.store.webhook_seed().await
    }

    async fn take_deliveries(&self) -> StoreResult<Vec<Delivery>> {
        self.world.store.take_deliveries().await
    }

    async fn settle_delivery(&self, id: JobId, number: u32, report: Report) -> StoreResult<Settled> {
        self.world.store.settle_delivery(id, number, report).await
    }

    async fn status(&self, id: JobId) -> StoreResult<Option<JobState>> {
        self.send(move |store| Box::pin(async move { store.status(id).await })).await?
    }

    async fn status_with(&self, id: JobId, shown: Shown) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        self.send(move |store| Box::pin(async move { store.status_with(id, shown).await })).await?
    }

    async fn dead(&self, app: Option<&App>) -> StoreResult<Vec<DeadJob>> {
        self.world.store.dead(app).await
    }

    async fn retry(&self, id: JobId) -> StoreResult<Retry> {
        self.world.store.retry(id).await
    }

    async fn workers(&self) -> StoreResult<Vec<SeenWorker>> {
        self.world.store.workers().await
    }

    async fn forget(&self, id: JobId) -> StoreResult<()> {
        self.world.store.forget(id).await
    }

    async fn job(&self, id: JobId) -> StoreResult<Option<Job>> {
        self.world.store.job(id).await
    }

    async fn jobs(&self, listing: &Listing) -> StoreResult<Option<Vec<ListedJob>>> {
        self.world.store.jobs(listing).await
    }
    async fn positions(&self, app: &App, ids: &[JobId]) -> StoreResult<Vec<Option<u64>>> {
        self.world.store.positions(app, ids).await
    }
    async fn waiting(&self, app: &App) -> StoreResult<Waiting> {
        self.world.store.waiting(app).await
    }
    fn follow(&self, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        self.world.store.follow(id, after)
    }

    /// Some messages are late, and some are lost.
    fn cancellations(&self, app: &App) -> BoxStream<'static, JobId> {
        self.heard(self.world.store.cancellations(app))
    }

    fn early_finishes(&self, app: &App) -> BoxStream<'static, (JobId, u32)> {
        self.heard(self.world.store.early_finishes(app))
    }
}
