//! Waiting workers are woken for a job.

use std::{sync::Arc, time::Duration};

use glimpse_shared::{id::JobId, job::Release, needs::Capabilities, store::Claim};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    Fixture, SOON, app, job,
    needs::{ddim_job, large, large_job, small},
    plain, plain_claim, worker,
};

/// Without a wake-up a worker waits for 5 s, so an earlier claim means a wake-up.
const WOKEN: Duration = Duration::from_secs(4);

/// Starts a worker that claims and waits until it has a lease.
fn start_waiting(fixture: &Fixture, tasks: &mut JoinSet<JobId>, name: &str) {
    start_waiting_with(fixture, tasks, name, plain(), &mpsc::unbounded_channel().0);
}

/// The same with these capabilities. Sends a message after each claim that got nothing.
fn start_waiting_with(
    fixture: &Fixture,
    tasks: &mut JoinSet<JobId>,
    name: &str,
    capabilities: Capabilities,
    waits: &mpsc::UnboundedSender<()>,
) {
    let (store, worker, waits) = (Arc::clone(&fixture.store), worker(name), waits.clone());
    tasks.spawn(async move {
        for number in 1.. {
            let claim = Claim { capabilities: capabilities.clone(), ..plain_claim(worker.clone(), number) };
            if let Some(lease) = store.try_claim(&claim).await.unwrap() {
                return lease.job.id;
            }
            // The receiver may be gone.
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

pub async fn a_submit_wakes_a_waiting_worker(fixture: &Fixture) {
    let mut tasks = JoinSet::new();
    start_waiting(fixture, &mut tasks, "w1");
    fixture.submit(&job("a heart")).await;
    all_done(tasks).await;
}

pub async fn a_give_back_wakes_a_waiting_worker(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let lease = fixture.claim("w1").await;
    let mut tasks = JoinSet::new();
    start_waiting(fixture, &mut tasks, "w2");
    fixture.store.release(&lease, &Release::Drain).await.unwrap();
    all_done(tasks).await;
}

pub async fn ten_jobs_wake_ten_workers(fixture: &Fixture) {
    let mut tasks = JoinSet::new();
    for n in 0..10 {
        start_waiting(fixture, &mut tasks, &format!("w{n}"));
    }
    for n in 0..10 {
        fixture.submit(&job(&format!("job {n}"))).await;
    }
    all_done(tasks).await;
}

pub async fn a_token_passed_on_wakes_another(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    // A worker took the token and will not claim.
    fixture.store.wait_for_work(&app(), &plain()).await.unwrap();
    fixture.store.wake(&app(), &plain()).await.unwrap();
    timeout(SOON, fixture.store.wait_for_work(&app(), &plain())).await.unwrap().unwrap();
    fixture.claim("w1").await;
}

pub async fn a_job_wakes_a_worker_that_can_do_it(fixture: &Fixture) {
    let (mut tasks, (waits, mut waiting)) = (JoinSet::new(), mpsc::unbounded_channel());
    // Many workers that are not capable of the job have waited for longer.
    for n in 0..5 {
        start_waiting_with(fixture, &mut tasks, &format!("small-{n}"), small(), &waits);
        waiting.recv().await;
    }
    start_waiting_with(fixture, &mut tasks, "large", large(), &waits);
    waiting.recv().await;
    let job = large_job("large");
    let since = Instant::now();
    fixture.submit(&job).await;
    let got = timeout(SOON, tasks.join_next()).await.expect("a worker has the job in time");
    assert_eq!(got.unwrap().unwrap(), job.id);
    assert!(since.elapsed() < WOKEN, "{:?}", since.elapsed());
}

pub async fn a_worker_that_can_do_nothing_sleeps_on(fixture: &Fixture) {
    let (mut tasks, (waits, mut waiting)) = (JoinSet::new(), mpsc::unbounded_channel());
    start_waiting_with(fixture, &mut tasks, "small", small(), &waits);
    waiting.recv().await;
    for n in 0..3 {
        fixture.submit(&large_job(&format!("large {n}"))).await;
    }
    // Its last wake-up comes after the ones for other jobs.
    fixture.submit(&job("small")).await;
    all_done(tasks).await;
    let mut times = 0;
    while waiting.try_recv().is_ok() {
        times += 1;
    }
    // At most one wake-up for each other job, which may be for an unknown worker.
    assert!(times <= 3, "it looked {times} times");
}

pub async fn a_mixed_fleet_makes_all_its_jobs(fixture: &Fixture) {
    let (mut tasks, (waits, mut waiting)) = (JoinSet::new(), mpsc::unbounded_channel());
    for n in 0..3 {
        start_waiting_with(fixture, &mut tasks, &format!("small-{n}"), small(), &waits);
        start_waiting_with(fixture, &mut tasks, &format!("large-{n}"), large(), &waits);
        waiting.recv().await;
        waiting.recv().await;
    }
    let since = Instant::now();
    for n in 0..3 {
        // In this order half of the workers are not capable of the first job of each round.
        fixture.submit(&large_job(&format!("large {n}"))).await;
        fixture.submit(&ddim_job(&format!("ddim {n}"))).await;
    }
    all_done(tasks).await;
    assert!(since.elapsed() < WOKEN, "{:?}", since.elapsed());
}
