//! The reaper's loop in virtual time: over a slow connection, and with a store that freezes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test that is how a failure looks")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use glimpse_shared::{
    error::{StoreError, StoreResult},
    event::{CancelledBy, Followed, Frame},
    id::{App, JobId, KeySecret, Micros, Seq},
    job::{DeadJob, Job, JobState, Release, SeenWorker, Status, WorkerRecord},
    needs::Capabilities,
    reaper,
    store::{
        Cancel, Checkpoint, Claim, Clock, Ending, Finish, FinishEarly, Hold, Lease, ListedJob, Listing,
        Preview, Quota, Reaped, Released, Retry, Rules, Shown, Store, Submit, Waiting, memory::MemoryStore,
    },
    webhook::{Delivery, Report, Settled},
};
use glimpse_test_support::jobs::{START, job, plain_claim, worker};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// A store behind a slow connection, whose clock shows the virtual time.
struct Far {
    store: Arc<MemoryStore>,
    clock: Clock,
    begun: Instant,
    /// How long a command takes to arrive, and its answer.
    delay: Duration,
    /// The store is frozen until then.
    still_until: Mutex<Option<Instant>>,
    /// Each reap finds data that it cannot read, besides what it reaps.
    unreadable: bool,
    /// Connections are refused at once.
    refuses: bool,
    /// How often the time was asked for.
    asked: AtomicU64,
}

impl Far {
    fn new(delay: Duration) -> Arc<Self> {
        let clock = Clock::manual(START);
        let store = Arc::new(MemoryStore::new(Rules::default(), clock.clone()));
        Arc::new(Self {
            store,
            clock,
            begun: Instant::now(),
            delay,
            still_until: Mutex::default(),
            unreadable: false,
            refuses: false,
            asked: AtomicU64::new(0),
        })
    }

    /// The same store over another connection.
    fn beside(&self, delay: Duration) -> Self {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Self {
            store,
            clock,
            begun: self.begun,
            delay,
            still_until: Mutex::new(*self.still_until.lock().unwrap()),
            unreadable: self.unreadable,
            refuses: self.refuses,
            asked: AtomicU64::new(0),
        }
    }

    fn tick(&self) -> &MemoryStore {
        if let Clock::Manual(now) = &self.clock {
            now.store(START.after(self.begun.elapsed()).0, Ordering::SeqCst);
        }
        &self.store
    }

    fn stand_still(&self, until: Instant) {
        *self.still_until.lock().unwrap() = Some(until);
    }

    /// Sends a command and waits for its answer, with the timeout of a command.
    async fn ask<T>(&self, command: impl Future<Output = StoreResult<T>> + Send) -> StoreResult<T> {
        let asked = async {
            sleep(self.delay).await;
            let until = *self.still_until.lock().unwrap();
            if let Some(until) = until {
                sleep_until(until).await;
            }
            self.tick();
            let answer = command.await;
            sleep(self.delay).await;
            answer
        };
        let away = |_| StoreError::Unavailable("no answer in time".to_owned());
        timeout(Duration::from_secs(5), asked).await.map_err(away)?
    }
}

#[async_trait]
impl Store for Far {
    async fn reap(&self, seen: Micros) -> StoreResult<Reaped> {
        let reaped = self.ask(self.store.reap(seen)).await;
        match self.unreadable {
            true => reaped.and(Err(StoreError::Corrupt("a member".to_owned()))),
            false => reaped,
        }
    }
    async fn now(&self) -> StoreResult<Micros> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.refuses {
            return Err(StoreError::Unavailable("connection refused".to_owned()));
        }
        self.ask(self.store.now()).await
    }
    async fn renew(&self, lease: &Lease, checkpoint: Option<&Checkpoint>) -> StoreResult<Hold> {
        self.ask(self.store.renew(lease, checkpoint)).await
    }

    // The other commands have no delay.
    async fn submit_within(&self, job: &Job, quota: Quota) -> StoreResult<Submit> {
        self.tick().submit_within(job, quota).await
    }
    async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>> {
        self.tick().try_claim(claim).await
    }
    async fn wait_for_work(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.store.wait_for_work(app, capabilities).await
    }
    async fn wake(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.store.wake(app, capabilities).await
    }
    async fn publish(&self, lease: &mut Lease, preview: &Preview) -> StoreResult<Hold> {
        self.tick().publish(lease, preview).await
    }
    async fn finish(&self, lease: &mut Lease, ending: &Ending) -> StoreResult<Finish> {
        self.tick().finish(lease, ending).await
    }
    async fn release(&self, lease: &Lease, release: &Release) -> StoreResult<Released> {
        self.tick().release(lease, release).await
    }
    async fn cancel(&self, id: JobId, by: CancelledBy) -> StoreResult<Cancel> {
        self.tick().cancel(id, by).await
    }
    async fn finish_early(&self, id: JobId) -> StoreResult<FinishEarly> {
        self.tick().finish_early(id).await
    }
    async fn job(&self, id: JobId) -> StoreResult<Option<Job>> {
        self.tick().job(id).await
    }
    async fn dead(&self, app: Option<&App>) -> StoreResult<Vec<DeadJob>> {
        self.store.dead(app).await
    }
    async fn retry(&self, id: JobId) -> StoreResult<Retry> {
        self.tick().retry(id).await
    }
    async fn heartbeat(&self, worker: &WorkerRecord) -> StoreResult<()> {
        self.tick().heartbeat(worker).await
    }
    async fn workers(&self) -> StoreResult<Vec<SeenWorker>> {
        self.tick().workers().await
    }
    async fn key_secret(&self) -> StoreResult<KeySecret> {
        self.store.key_secret().await
    }

    async fn webhook_seed(&self) -> StoreResult<KeySecret> {
        self.store.webhook_seed().await
    }

    async fn take_deliveries(&self) -> StoreResult<Vec<Delivery>> {
        self.store.take_deliveries().await
    }

    async fn settle_delivery(&self, id: JobId, number: u32, report: Report) -> StoreResult<Settled> {
        self.store.settle_delivery(id, number, report).await
    }
    async fn status(&self, id: JobId) -> StoreResult<Option<JobState>> {
        self.store.status(id).await
    }
    async fn status_with(&self, id: JobId, shown: Shown) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        self.store.status_with(id, shown).await
    }
    async fn jobs(&self, listing: &Listing) -> StoreResult<Option<Vec<ListedJob>>> {
        self.store.jobs(listing).await
    }
    async fn positions(&self, app: &App, ids: &[JobId]) -> StoreResult<Vec<Option<u64>>> {
        self.store.positions(app, ids).await
    }
    async fn waiting(&self, app: &App) -> StoreResult<Waiting> {
        self.store.waiting(app).await
    }
    fn follow(&self, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        self.store.follow(id, after)
    }
    fn cancellations(&self, app: &App) -> BoxStream<'static, JobId> {
        self.store.cancellations(app)
    }
    fn early_finishes(&self, app: &App) -> BoxStream<'static, (JobId, u32)> {
        self.store.early_finishes(app)
    }
    async fn forget(&self, id: JobId) -> StoreResult<()> {
        self.store.forget(id).await
    }
}

/// How long it takes until a job is requeued whose worker was lost right after its claim. The job is submitted `after`
/// the reaper has settled.
async fn recovery(period: Duration, delay: Duration, after: Duration) -> Duration {
    recovery_in(Far::new(delay), period, after).await
}

async fn recovery_in(store: Arc<Far>, period: Duration, after: Duration) -> Duration {
    let delay = store.delay;
    tokio::spawn(reaper::run(store.clone(), period));
    sleep(Duration::from_secs(40) + after).await;
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    store.try_claim(&plain_claim(worker("lost"), 1)).await.unwrap().expect("the job");
    let lost = Instant::now();
    loop {
        if store.status(job.id).await.unwrap().unwrap().status == Status::Queued {
            return lost.elapsed();
        }
        assert!(
            lost.elapsed() < Duration::from_secs(120),
            "the job was not requeued, with a delay of {delay:?}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_has_workers_alone_recovers_as_soon_as_one_with_apis() {
    glimpse_shared::jitter::seed(7);
    for delay in [0, 125, 250, 500].map(Duration::from_millis) {
        for after in (0..20).map(|n| Duration::from_millis(n * 450)) {
            // Before the reap the store's time is read, which takes twice `delay`; the reap takes `delay` to arrive.
            let most = Duration::from_secs(20) + 3 * delay;
            for period in [reaper::WORKER_PERIOD, reaper::API_PERIOD] {
                let took = recovery(period, delay, after).await;
                assert!(took < most, "{took:?} with a delay of {delay:?}, every {period:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unreadable_data_is_no_outage() {
    glimpse_shared::jitter::seed(9);
    let store = Far { unreadable: true, ..Arc::into_inner(Far::new(Duration::ZERO)).unwrap() };
    let took = recovery_in(Arc::new(store), reaper::API_PERIOD, Duration::ZERO).await;
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_connections_is_asked_once_a_period() {
    glimpse_shared::jitter::seed(10);
    for period in [reaper::API_PERIOD, reaper::WORKER_PERIOD] {
        let store = Arc::new(Far { refuses: true, ..Arc::into_inner(Far::new(Duration::ZERO)).unwrap() });
        tokio::spawn(reaper::run(store.clone(), period));
        sleep(Duration::from_secs(60)).await;
        // The jitter makes a period up to 10 % shorter.
        let most = (60.0 / period.mul_f64(0.9).as_secs_f64()) as u64 + 1;
        let asked = store.asked.load(Ordering::SeqCst);
        assert!((2..=most).contains(&asked), "asked {asked} times in a minute, every {period:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stands_still_for_any_time_costs_no_healthy_worker_its_job() {
    glimpse_shared::jitter::seed(8);
    let reapers = Far::new(Duration::from_millis(1));
    tokio::spawn(reaper::run(reapers.clone(), reaper::WORKER_PERIOD));
    tokio::spawn(reaper::run(reapers.clone(), reaper::API_PERIOD));
    let job = job("a heart");
    reapers.submit(&job).await.unwrap();
    let lease = reapers.try_claim(&plain_claim(worker("w1"), 1)).await.unwrap().expect("the job");
    for millis in (500..14_000).step_by(300) {
        // The reapers settle again, with a renewal every 5 s.
        for _ in 0..7 {
            sleep(Duration::from_secs(5)).await;
            assert_eq!(reapers.renew(&lease, None).await.unwrap(), Hold::Held, "before {millis} ms");
        }
        // The store freezes just before the next renewal, which is late because the worker must reconnect.
        sleep(Duration::from_millis(4_900)).await;
        let thaw = Instant::now() + Duration::from_millis(millis);
        reapers.stand_still(thaw);
        sleep_until(thaw + Duration::from_millis(300)).await;
        let worker = reapers.beside(Duration::from_millis(1));
        assert_eq!(worker.renew(&lease, None).await.unwrap(), Hold::Held, "after {millis} ms");
    }
    assert_eq!(reapers.status(job.id).await.unwrap().unwrap().attempt, 1);
}
