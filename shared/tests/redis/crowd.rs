//! Many jobs with workers and followers, for tests that disturb Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use glimpse_shared::{
    event::Followed,
    id::JobId,
    store::{Store, redis::RedisStore},
};
use glimpse_test_support::jobs::{completed, job, plain_claim, preview, worker};
use tokio::{task::JoinHandle, time::Instant};

use crate::helpers::{answered, eventually};

const PREVIEWS: u32 = 6;
/// How long a worker takes for a step.
const STEP: Duration = Duration::from_millis(10);
/// The timeout for all jobs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Running jobs, their workers and followers.
pub struct Crowd {
    begun: Instant,
    ended: Arc<AtomicUsize>,
    followers: Vec<JoinHandle<(bool, usize)>>,
    others: Vec<JoinHandle<()>>,
}

/// What all followers received.
#[derive(Debug)]
pub struct Totals {
    /// Terminal events.
    pub ends: usize,
    /// Streams that ended because Redis does not know the job.
    pub lost: usize,
    pub gaps: usize,
    pub took: Duration,
}

impl Crowd {
    /// Submits `jobs` jobs and starts `workers` workers.
    pub async fn start(store: &Arc<RedisStore>, jobs: usize, workers: usize) -> Self {
        let ended = Arc::new(AtomicUsize::new(0));
        let mut followers = Vec::new();
        for n in 0..jobs {
            let job = job(&format!("job {n}"));
            answered(|| store.submit(&job)).await;
            followers.push(tokio::spawn(follow(store.clone(), job.id, ended.clone())));
        }
        let mut others: Vec<_> =
            (0..workers).map(|n| tokio::spawn(work(store.clone(), format!("w{n}")))).collect();
        others.push(tokio::spawn(reap(store.clone())));
        Self { begun: Instant::now(), ended, followers, others }
    }

    /// Waits until `count` streams have ended.
    pub async fn until_ended(&self, count: usize) {
        eventually("jobs to end", || self.ended.load(Ordering::SeqCst) >= count).await;
    }

    /// Waits for the end of every stream.
    pub async fn totals(self) -> Totals {
        let mut totals = Totals { ends: 0, lost: 0, gaps: 0, took: Duration::ZERO };
        for follower in self.followers {
            let (lost, gaps) = follower.await.unwrap();
            totals.lost += usize::from(lost);
            totals.ends += usize::from(!lost);
            totals.gaps += gaps;
        }
        totals.took = self.begun.elapsed();
        self.others.iter().for_each(JoinHandle::abort);
        totals
    }
}

/// Follows a job to its end. Returns whether it was lost, and the number of gaps.
async fn follow(store: Arc<RedisStore>, id: JobId, ended: Arc<AtomicUsize>) -> (bool, usize) {
    let mut stream = store.follow(id, None);
    let (mut last, mut gaps) = (0, 0);
    let lost = loop {
        let next = tokio::time::timeout(DEADLINE, stream.next()).await.expect("an event in time");
        match next.expect("a terminal event before the end of the stream") {
            Followed::Frame(frame) => {
                assert!(frame.seq.0 > last, "{id}: {} after {last}", frame.seq.0);
                last = frame.seq.0;
                if frame.kind.is_terminal() {
                    break false;
                }
            }
            Followed::Gap => (last, gaps) = (0, gaps + 1),
            Followed::Lost => break true,
        }
    };
    assert_eq!(stream.next().await, None);
    ended.fetch_add(1, Ordering::SeqCst);
    (lost, gaps)
}

/// Runs a worker, which retries every command except previews.
async fn work(store: Arc<RedisStore>, name: String) {
    for number in 1.. {
        let claim = plain_claim(worker(&name), number);
        let Some(mut lease) = answered(|| store.try_claim(&claim)).await else {
            answered(|| store.wait_for_work(&claim.app, &claim.capabilities)).await;
            continue;
        };
        for step in 0..PREVIEWS {
            tokio::time::sleep(STEP).await;
            let preview = preview(&lease, step);
            // A failed preview is not retried: the next one is newer.
            let _ = store.publish(&mut lease, &preview).await;
        }
        answered(|| {
            let (store, mut lease) = (store.clone(), lease.clone());
            async move { store.finish(&mut lease, &completed()).await }
        })
        .await;
    }
}

/// Reaps often and without a wait, because after a failover a job may be running without a worker. A job that is
/// requeued too early is no problem: its worker is fenced.
async fn reap(store: Arc<RedisStore>) {
    loop {
        if let Ok(now) = store.now().await {
            let _ = store.reap(now).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
