//! Waiting workers hear of work without asking.

use std::{sync::Arc, time::Duration};

use glimpse_shared::{id::JobId, job::Release, needs::Capabilities, store::Claim};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    Home, SOON, app, job,
    needs::{ddim_job, large, large_job, small},
    plain, plain_claim, worker,
};

/// A worker looks by itself after 5 s: what comes sooner was a wake-up.
const WOKEN: Duration = Duration::from_secs(4);

/// A worker that waits until it has a lease: claims first, then waits.
fn start_waiting(home: &Home, tasks: &mut JoinSet<JobId>, name: &str) {
    start_waiting_with(home, tasks, name, plain(), &mpsc::unbounded_channel().0);
}

/// The same with these capabilities; says after each claim that got nothing that it is about to wait.
fn start_waiting_with(
    home: &Home,
    tasks: &mut JoinSet<JobId>,
    name: &str,
    capabilities: Capabilities,
    waits: &mpsc::UnboundedSender<()>,
) {
    let (store, worker, waits) = (Arc::clone(&home.store), worker(name), waits.clone());
    tasks.spawn(async move {
        for number in 1.. {
            let claim = Claim { capabilities: capabilities.clone(), ..plain_claim(worker.clone(), number) };
            if let Some(lease) = store.try_claim(&claim).await.unwrap() {
                return lease.job.id;
            }
            // Nobody has to count.
            let _ = waits.send(());
            store.wait_for_work(&app(), &capabilities).await.unwrap();
        }
        unreachable!()
    });
}

async fn all_done(mut tasks: JoinSet<JobId>) {
    timeout(SOON, async { while tasks.join_next().await.transpose().unwrap().is_some() {} })
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
    home.store.wait_for_work(&app(), &plain()).await.unwrap();
    home.store.wake(&app(), &plain()).await.unwrap();
    timeout(SOON, home.store.wait_for_work(&app(), &plain())).await.unwrap().unwrap();
    home.claim("w1").await;
}

pub async fn a_job_wakes_a_worker_that_can_do_it(home: &Home) {
    let (mut tasks, (waits, mut waiting)) = (JoinSet::new(), mpsc::unbounded_channel());
    // Many that cannot, who have slept for longer.
    for n in 0..5 {
        start_waiting_with(home, &mut tasks, &format!("small-{n}"), small(), &waits);
        waiting.recv().await;
    }
    start_waiting_with(home, &mut tasks, "large", large(), &waits);
    waiting.recv().await;
    let job = large_job("large");
    let since = Instant::now();
    home.submit(&job).await;
    let got = timeout(SOON, tasks.join_next()).await.expect("a worker has the job in time");
    assert_eq!(got.unwrap().unwrap(), job.id);
    assert!(since.elapsed() < WOKEN, "{:?}", since.elapsed());
}

pub async fn a_worker_that_can_do_nothing_sleeps_on(home: &Home) {
    let (mut tasks, (waits, mut waiting)) = (JoinSet::new(), mpsc::unbounded_channel());
    start_waiting_with(home, &mut tasks, "small", small(), &waits);
    waiting.recv().await;
    for n in 0..3 {
        home.submit(&large_job(&format!("large {n}"))).await;
    }
    // What wakes it for good comes after whatever woke it in vain.
    home.submit(&job("small")).await;
    all_done(tasks).await;
    let mut times = 0;
    while waiting.try_recv().is_ok() {
        times += 1;
    }
    // For each of the others at most once, as the job might have been for a worker that is not known.
    assert!(times <= 3, "it looked {times} times");
}

pub async fn a_mixed_fleet_makes_all_its_jobs(home: &Home) {
    let (mut tasks, (waits, mut waiting)) = (JoinSet::new(), mpsc::unbounded_channel());
    for n in 0..3 {
        start_waiting_with(home, &mut tasks, &format!("small-{n}"), small(), &waits);
        start_waiting_with(home, &mut tasks, &format!("large-{n}"), large(), &waits);
        waiting.recv().await;
        waiting.recv().await;
    }
    let since = Instant::now();
    for n in 0..3 {
        // In this order the first of each round is beyond half of them.
        home.submit(&large_job(&format!("large {n}"))).await;
        home.submit(&ddim_job(&format!("ddim {n}"))).await;
    }
    all_done(tasks).await;
    assert!(since.elapsed() < WOKEN, "{:?}", since.elapsed());
}
