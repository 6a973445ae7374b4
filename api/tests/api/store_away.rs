//! An unreachable store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::stream::BoxStream;
use glimpse_api::Config;
use glimpse_shared::{
    error::{StoreError, StoreResult},
    event::{CancelledBy, Followed, Frame},
    id::{App, JobId, KeySecret, Micros, Seq},
    job::{DeadJob, Job, JobState, Release, SeenWorker, WorkerRecord},
    needs::Capabilities,
    store::{
        Cancel, Checkpoint, Claim, Clock, Ending, Finish, FinishEarly, Hold, Lease, ListedJob, Listing,
        Preview, Quota, Reaped, Released, Retry, Shown, Store, Submit, Waiting, memory::MemoryStore,
    },
    webhook::{Delivery, Report, Settled},
};
use tokio::time::Instant;

use crate::support::{Stack, demo, record};

/// A store that can be made unreachable.
struct Cut {
    store: MemoryStore,
    away: AtomicBool,
    silent: AtomicBool,
    /// Its answers cannot be read.
    strange: AtomicBool,
}

impl Cut {
    async fn here(&self) -> StoreResult<&MemoryStore> {
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("connection refused".to_owned()));
        }
        if self.strange.load(Ordering::SeqCst) {
            return Err(StoreError::Corrupt("ERR Lua scripting is disabled".to_owned()));
        }
        Ok(&self.store)
    }
}

#[async_trait::async_trait]
impl Store for Cut {
    async fn submit_within(&self, job: &Job, quota: Quota) -> StoreResult<Submit> {
        self.here().await?.submit_within(job, quota).await
    }
    async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>> {
        self.here().await?.try_claim(claim).await
    }
    async fn wait_for_work(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.here().await?.wait_for_work(app, capabilities).await
    }
    async fn wake(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.here().await?.wake(app, capabilities).await
    }
    async fn renew(&self, lease: &Lease, checkpoint: Option<&Checkpoint>) -> StoreResult<Hold> {
        self.here().await?.renew(lease, checkpoint).await
    }
    async fn publish(&self, lease: &mut Lease, preview: &Preview) -> StoreResult<Hold> {
        self.here().await?.publish(lease, preview).await
    }
    async fn finish(&self, lease: &mut Lease, ending: &Ending) -> StoreResult<Finish> {
        self.here().await?.finish(lease, ending).await
    }
    async fn release(&self, lease: &Lease, release: &Release) -> StoreResult<Released> {
        self.here().await?.release(lease, release).await
    }
    async fn cancel(&self, id: JobId, by: CancelledBy) -> StoreResult<Cancel> {
        self.here().await?.cancel(id, by).await
    }
    async fn finish_early(&self, id: JobId) -> StoreResult<FinishEarly> {
        self.here().await?.finish_early(id).await
    }
    async fn job(&self, id: JobId) -> StoreResult<Option<Job>> {
        self.here().await?.job(id).await
    }
    async fn dead(&self, app: Option<&App>) -> StoreResult<Vec<DeadJob>> {
        self.here().await?.dead(app).await
    }
    async fn retry(&self, id: JobId) -> StoreResult<Retry> {
        self.here().await?.retry(id).await
    }
    async fn reap(&self, seen: Micros) -> StoreResult<Reaped> {
        self.here().await?.reap(seen).await
    }
    async fn now(&self) -> StoreResult<Micros> {
        self.here().await?.now().await
    }
    async fn heartbeat(&self, worker: &WorkerRecord) -> StoreResult<()> {
        self.here().await?.heartbeat(worker).await
    }
    async fn workers(&self) -> StoreResult<Vec<SeenWorker>> {
        self.here().await?.workers().await
    }
    async fn key_secret(&self) -> StoreResult<KeySecret> {
        self.here().await?.key_secret().await
    }
    async fn webhook_seed(&self) -> StoreResult<KeySecret> {
        self.here().await?.webhook_seed().await
    }
    async fn take_deliveries(&self) -> StoreResult<Vec<Delivery>> {
        self.here().await?.take_deliveries().await
    }
    async fn settle_delivery(&self, id: JobId, number: u32, report: Report) -> StoreResult<Settled> {
        self.here().await?.settle_delivery(id, number, report).await
    }
    async fn status(&self, id: JobId) -> StoreResult<Option<JobState>> {
        self.here().await?.status(id).await
    }
    async fn status_with(&self, id: JobId, shown: Shown) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        self.here().await?.status_with(id, shown).await
    }
    async fn jobs(&self, listing: &Listing) -> StoreResult<Option<Vec<ListedJob>>> {
        self.here().await?.jobs(listing).await
    }
    async fn positions(&self, app: &App, ids: &[JobId]) -> StoreResult<Vec<Option<u64>>> {
        self.here().await?.positions(app, ids).await
    }
    async fn waiting(&self, app: &App) -> StoreResult<Waiting> {
        self.here().await?.waiting(app).await
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
        self.here().await?.forget(id).await
    }
}

async fn cut_stack() -> (Stack, Arc<Cut>) {
    let store = MemoryStore::new(Config::default().rules(), Clock::default());
    let [away, silent, strange] = [(); 3].map(|()| AtomicBool::new(false));
    let cut = Arc::new(Cut { store, away, silent, strange });
    let stack = Stack::over(cut.clone(), Config::default(), Clock::default()).await;
    stack.store.heartbeat(&record("one", &demo())).await.unwrap();
    (stack, cut)
}

const SUBMITS: [(&str, &str); 3] = [
    ("/v1/jobs", r#"{"app":"glimpse/demo","prompt":"a heart"}"#),
    ("/glimpse/demo", r#"{"prompt":"a heart"}"#),
    ("/glimpse/demo/stream", r#"{"prompt":"a heart"}"#),
];

#[tokio::test]
async fn every_route_is_503_and_the_process_is_live() {
    let (stack, cut) = cut_stack().await;
    let id = stack.submit("a heart").await;
    cut.away.store(true, Ordering::SeqCst);
    for (path, body) in SUBMITS {
        let answer = stack.post(path, body).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.json()["detail"].is_string());
        assert!(answer.header("retry-after").is_some());
    }
    for (method, path) in [
        ("GET", format!("/v1/jobs/{id}")),
        ("GET", format!("/v1/jobs/{id}/events")),
        ("GET", format!("/v1/jobs/{id}/image")),
        ("DELETE", format!("/v1/jobs/{id}")),
        ("GET", "/v1/dead".to_owned()),
        ("POST", format!("/v1/dead/{id}/retry")),
        ("GET", "/v1/workers".to_owned()),
        ("GET", "/health/ready".to_owned()),
    ] {
        assert_eq!(stack.ask(method, &path, "").await.status, 503, "{method} {path}");
    }
    assert_eq!(stack.get("/health/live").await.status, 200);
    cut.away.store(false, Ordering::SeqCst);
    assert_eq!(stack.get("/health/ready").await.status, 200);
    assert_eq!(stack.get(&format!("/v1/jobs/{id}")).await.status, 200);
}

#[tokio::test]
async fn readiness_is_never_500() {
    let (stack, cut) = cut_stack().await;
    cut.strange.store(true, Ordering::SeqCst);
    let answer = stack.get("/health/ready").await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    let detail = answer.json()["detail"].clone();
    assert!(detail.as_str().is_some_and(|detail| detail.contains("Lua scripting is disabled")), "{detail}");
}

#[tokio::test]
async fn a_store_that_does_not_respond_is_503_within_fifteen_seconds() {
    let (stack, cut) = cut_stack().await;
    cut.silent.store(true, Ordering::SeqCst);
    let started = Instant::now();
    let answers = SUBMITS.map(|(path, body)| stack.post(path, body));
    for answer in futures::future::join_all(answers).await {
        assert_eq!(answer.status, 503);
    }
    assert!(started.elapsed() < Duration::from_secs(15));
}
