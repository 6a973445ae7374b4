//! The lease of a job that was claimed ahead.

use std::{sync::Arc, time::Duration};

use glimpse_shared::{
    event::{Event, FailureCode},
    id::{JobId, Micros},
    job::Job,
    store::{Clock, Reaped, Rules, SharedStore, memory::MemoryStore},
};
use glimpse_worker::lease::Stop;
use serde_json::json;

use crate::{
    played::play,
    props::{GRACE, assert_completes},
    script::{all, job, submit, submit_job},
};

/// A store whose clock the test moves.
struct Moved {
    store: SharedStore,
    clock: Clock,
}

impl Moved {
    fn new() -> Self {
        let clock = Clock::manual(Micros::system());
        Self { store: Arc::new(MemoryStore::new(Rules::default(), clock.clone())), clock }
    }

    /// Time passes for the store and for the workers, which renew every 5 s.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn reap(&self) -> Reaped {
        self.store.reap(self.store.now().await.unwrap()).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_ahead_keeps_its_lease_and_one_that_loses_it_does_not_begin() {
    let moved = Moved::new();
    let store = &moved.store;
    let first = submit(store, "a heart").await;
    let hasty = Job { run_timeout: Duration::from_secs(40), ..job("a house", json!([])) };
    let second = submit_job(store, hasty).await;
    let (_worker, mut orders) = play(store, "w", GRACE);
    let one = orders.next().await.begin_last_step();
    let mut other = orders.next().await;
    moved.pass(35).await;
    let reaped = moved.reap().await;
    assert_eq!((reaped.ended, reaped.given_back), (vec![], vec![]), "both leases are renewed");

    moved.pass(6).await;
    assert_eq!(moved.reap().await.ended, [second]);
    assert_eq!(other.stopped().await, Stop::Lost);
    let third = submit(store, "a horse").await;
    assert_eq!(one.stop(), None);
    one.hand_over();
    assert_completes(store, first).await;
    orders.next().await.begin().hand_over();
    assert_completes(store, third).await;
    assert!(matches!(
        all(store, second).await.pop(),
        Some(Event::Failed { code: FailureCode::RunTimeout, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn both_jobs_of_a_worker_that_dies_run_again_when_their_leases_expire() {
    let moved = Moved::new();
    let store = &moved.store;
    let jobs: [JobId; 2] = [submit(store, "a heart").await, submit(store, "a house").await];
    let (worker, mut orders) = play(store, "w", GRACE);
    let _one = orders.next().await.begin_last_step();
    let _other = orders.next().await;
    worker.ended.abort();
    assert!(worker.ended.await.unwrap_err().is_cancelled());
    moved.pass(14).await;
    assert_eq!(moved.reap().await.given_back, []);
    moved.pass(2).await;
    let mut given_back = moved.reap().await.given_back;
    given_back.sort();
    let mut expected = jobs;
    expected.sort();
    assert_eq!(given_back, expected);

    let (_second, mut others) = play(store, "other", GRACE);
    for id in jobs {
        others.next().await.begin().hand_over();
        assert_completes(store, id).await;
        assert_eq!(store.status(id).await.unwrap().unwrap().attempt, 2);
    }
}
