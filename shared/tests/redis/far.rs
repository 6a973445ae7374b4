//! Redis behind a slow connection.

use std::time::Duration;

use glimpse_shared::{
    id::Micros,
    store::{Clock, Rules, Store},
};
use glimpse_test_support::{Proxy, RedisServer, Weather};

use crate::{
    props::{passed, store_with},
    suite::{job, plain_claim, worker},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_over_a_slow_connection_takes_back_all_jobs_of_a_lost_machine() {
    let server = RedisServer::start_with(&[]);
    let rules = Rules { lease: Duration::from_millis(100), ..Rules::default() };
    let near = store_with(&server.url(), rules.clone(), Clock::Store);
    let proxy = Proxy::before(server.port());
    // Each way: a command and its answer take half a second.
    proxy.set(Weather::Slow(Duration::from_millis(250)));
    let far = store_with(&format!("redis://127.0.0.1:{}", proxy.port()), rules.clone(), Clock::Store);
    // As the loop does for a while before it reaps: its connections are open then.
    far.reap(Micros(0)).await.unwrap();
    // So many that a round takes longer than a command may be on its way.
    let mut jobs: Vec<_> = (0..12).map(|n| job(&format!("job {n}"))).collect();
    for (n, job) in jobs.iter().enumerate() {
        near.submit(job).await.unwrap();
        near.try_claim(&plain_claim(worker(&format!("lost-{n}")), 1)).await.unwrap().expect("the job");
    }
    passed(&near, near.now().await.unwrap().after(rules.lease)).await;
    // Others know the scripts.
    assert_eq!(near.reap(Micros(0)).await.unwrap().given_back, []);
    // As the loop does it.
    let seen = far.now().await.unwrap();
    let mut given_back = far.reap(seen).await.unwrap().given_back;
    given_back.sort_unstable();
    jobs.sort_unstable_by_key(|job| job.id);
    assert_eq!(given_back, jobs.iter().map(|job| job.id).collect::<Vec<_>>());
}
