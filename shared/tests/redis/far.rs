//! Redis behind a slow connection.

use std::time::Duration;

use glimpse_shared::{
    reaper,
    store::{Claim, Clock, Rules, Store},
};
use glimpse_test_support::{Proxy, RedisServer, Weather};
use tokio::time::{Instant, sleep};

use crate::{
    props::{store, store_with},
    suite::{job, plain_claim, worker},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_reaps_over_a_slow_connection() {
    let server = RedisServer::start_with(&[]);
    let near = store(&server.url());
    let proxy = Proxy::before(server.port());
    // Each way: a command and its answer take half a second.
    proxy.set(Weather::Slow(Duration::from_millis(250)));
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let far = store_with(&url, Rules::default(), Clock::Store);
    let reaping = tokio::spawn(reaper::run(far, reaper::WORKER_PERIOD));
    // It reaps nothing before it has heard from the store for 15 s.
    sleep(Duration::from_secs(5)).await;
    // A machine of twelve workers is lost.
    let jobs: Vec<_> = (0..12).map(|n| job(&format!("job {n}"))).collect();
    for (n, job) in jobs.iter().enumerate() {
        near.submit(job).await.unwrap();
        let claim: Claim = plain_claim(worker(&format!("lost-{n}")), 1);
        near.try_claim(&claim).await.unwrap().expect("the job");
    }
    let lost = Instant::now();
    let mut waiting = 0;
    while waiting < jobs.len() {
        assert!(lost.elapsed() < Duration::from_secs(32), "{waiting} of {} jobs wait again", jobs.len());
        sleep(Duration::from_millis(100)).await;
        waiting = 0;
        for job in &jobs {
            let state = near.status(job.id).await.unwrap().unwrap();
            waiting += usize::from(state.position.is_some());
        }
    }
    println!("all wait again after {:?}", lost.elapsed());
    reaping.abort();
}
