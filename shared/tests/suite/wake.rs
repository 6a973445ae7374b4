//! Waiting workers hear of work without asking.

use std::sync::Arc;

use glimpse_shared::{job::Release, store::Claim};
use tokio::task::JoinSet;

use super::{Home, SOON, app, job, worker};

/// A worker that waits until it has a lease: claims first, then waits.
fn start_waiting(home: &Home, tasks: &mut JoinSet<()>, name: &str) {
    let store = Arc::clone(&home.store);
    let worker = worker(name);
    tasks.spawn(async move {
        for number in 1.. {
            let claim = Claim { worker: worker.clone(), app: app(), affinity: None, number };
            if store.try_claim(&claim).await.unwrap().is_some() {
                return;
            }
            store.wait_for_work(&app()).await.unwrap();
        }
    });
}

async fn all_done(mut tasks: JoinSet<()>) {
    tokio::time::timeout(SOON, async { while tasks.join_next().await.transpose().unwrap().is_some() {} })
        .await
        .expect("every worker has its job in time");
}

pub async fn a_submit_wakes_a_waiting_worker(home: &Home) {
    let mut tasks = JoinSet::new();
    start_waiting(home, &mut tasks, "w1");
    home.submit(&job("a heart")).await;
    all_done(tasks).await;
}

pub async fn a_give_back_wakes_a_waiting_worker(home: &Home) {
    home.submit(&job("a heart")).await;
    let lease = home.claim("w1").await;
    let mut tasks = JoinSet::new();
    start_waiting(home, &mut tasks, "w2");
    home.store.release(&lease, &Release::Drain).await.unwrap();
    all_done(tasks).await;
}

pub async fn ten_jobs_wake_ten_workers(home: &Home) {
    let mut tasks = JoinSet::new();
    for n in 0..10 {
        start_waiting(home, &mut tasks, &format!("w{n}"));
    }
    for n in 0..10 {
        home.submit(&job(&format!("job {n}"))).await;
    }
    all_done(tasks).await;
}

pub async fn a_token_passed_on_wakes_another(home: &Home) {
    home.submit(&job("a heart")).await;
    // Somebody took the token and will not claim.
    home.store.wait_for_work(&app()).await.unwrap();
    home.store.wake(&app()).await.unwrap();
    tokio::time::timeout(SOON, home.store.wait_for_work(&app())).await.unwrap().unwrap();
    home.claim("w1").await;
}
