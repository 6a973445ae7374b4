//! Redis behind a slow connection.

use std::time::Duration;

use glimpse_shared::{
    id::Micros,
    store::{Clock, Rules, Store},
};
use glimpse_test_support::{
    Proxy, RedisServer, Weather,
    jobs::{job, plain_claim, worker},
};

use crate::helpers::{passed, store_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_over_a_slow_connection_takes_back_all_jobs_of_a_lost_machine() {
    let server = RedisServer::start_with(&[]);
    let rules = Rules { lease: Duration::from_millis(100), ..Rules::default() };
    let near = store_with(&server.url(), rules.clone(), Clock::Store);
    let proxy = Proxy::before(server.port());
    // 250 ms each way: a command takes half a second.
    proxy.set(Weather::Slow(Duration::from_millis(250)));
    let far = store_with(&format!("redis://127.0.0.1:{}", proxy.port()), rules.clone(), Clock::Store);
    // Opens connections, as the reaper's loop does before its first pass.
    far.reap(Micros(0)).await.unwrap();
    // Enough jobs that the pass takes longer than `reap_within`.
    let mut jobs: Vec<_> = (0..12).map(|n| job(&format!("job {n}"))).collect();
    for (n, job) in jobs.iter().enumerate() {
        near.submit(job).await.unwrap();
        near.try_claim(&plain_claim(worker(&format!("lost-{n}")), 1)).await.unwrap().expect("the job");
    }
    passed(&near, near.now().await.unwrap().after(rules.lease)).await;
    // The server knows the scripts from other processes.
    assert_eq!(near.reap(Micros(0)).await.unwrap().given_back, []);
    // As the reaper's loop does.
    let seen = far.now().await.unwrap();
    let mut given_back = far.reap(seen).await.unwrap().given_back;
    given_back.sort_unstable();
    jobs.sort_unstable_by_key(|job| job.id);
    assert_eq!(given_back, jobs.iter().map(|job| job.id).collect::<Vec<_>>());
}
