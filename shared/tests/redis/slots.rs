//! Clusters: slots move and nodes die while jobs run.

use std::time::Duration;

use futures::StreamExt;
use glimpse_shared::{
    event::{CancelledBy, Followed},
    job::{Release, Status},
    store::{Cancel, Clock, Finish, Released, Rules, Store},
};
use glimpse_test_support::{
    RedisCluster,
    jobs::{self, app, completed, job, plain, preview},
};
use tokio::time::Instant;

use crate::{
    crowd::Crowd,
    helpers::{answered, caught_up, claim, job_key, key, store, store_with, unavailable},
    streams::{cursor, frame, next, over},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_takes_its_followers_along() {
    let cluster = RedisCluster::start();
    let store = store(&cluster.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut lease = claim(&store, "w1", 1).await;
    let mut stream = store.follow(job.id, cursor(1));
    let mut cancellations = store.cancellations(&app());
    assert_eq!(frame(next(&mut stream).await).0, 2);
    for step in 0..4 {
        // The old node ends the subscription itself, with a sunsubscribe.
        cluster.move_slot(&job_key(job.id));
        let preview = preview(&lease, step);
        lease = answered(|| {
            let (store, preview, mut lease) = (store.clone(), preview.clone(), lease.clone());
            async move { store.publish(&mut lease, &preview).await.map(|_| lease) }
        })
        .await;
        assert_eq!(frame(next(&mut stream).await).0, u64::from(step) + 3);
    }
    assert_eq!(store.release(&lease, &Release::Drain).await.unwrap(), Released::Released);
    assert_eq!(frame(next(&mut stream).await).0, 7);
    store.wait_for_work(&app(), &plain()).await.unwrap();
    claim(&store, "w1", 2).await;
    assert_eq!(frame(next(&mut stream).await).0, 8);
    store.cancel(job.id, CancelledBy::Client).await.unwrap();
    assert_eq!(frame(next(&mut stream).await).0, 9);
    over(&mut stream).await;
    assert_eq!(cancellations.next().await, Some(job.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_comes_back_with_its_jobs() {
    let mut cluster = RedisCluster::start();
    let store = store(&cluster.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let lease = claim(&store, "w1", 1).await;
    let mut stream = store.follow(job.id, cursor(1));
    assert_eq!(frame(next(&mut stream).await).0, 2);
    for master in cluster.masters_mut() {
        master.restart();
    }
    cluster.until_whole();
    let finish = answered(|| {
        let (store, mut lease) = (store.clone(), lease.clone());
        async move { store.finish(&mut lease, &completed()).await }
    });
    assert_eq!(finish.await, Finish::Finished);
    assert_eq!(frame(next(&mut stream).await).0, 3);
    over(&mut stream).await;
    let cancel = answered(|| store.cancel(job.id, CancelledBy::Client)).await;
    assert_eq!(cancel, Cancel::AlreadyDone(Status::Completed));
    let mut unknown = store.follow(jobs::job("never submitted").id, None);
    assert_eq!(next(&mut unknown).await, Followed::Lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_takes_the_followers_along() {
    let cluster = RedisCluster::start_with_replicas();
    let store = store(&cluster.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut lease = claim(&store, "w1", 1).await;
    let mut stream = store.follow(job.id, cursor(1));
    assert_eq!(frame(next(&mut stream).await).0, 2);
    // Both servers live: the connection to the old master stays open, but no message comes on it.
    cluster.fail_over(&job_key(job.id));
    let since = Instant::now();
    let preview = preview(&lease, 0);
    lease = answered(|| {
        let (store, preview, mut lease) = (store.clone(), preview.clone(), lease.clone());
        async move { store.publish(&mut lease, &preview).await.map(|_| lease) }
    })
    .await;
    assert_eq!(frame(next(&mut stream).await).0, 3);
    assert!(since.elapsed() < Duration::from_secs(18), "{:?}", since.elapsed());
    assert_eq!(store.finish(&mut lease, &completed()).await.unwrap(), Finish::Finished);
    assert_eq!(frame(next(&mut stream).await).0, 4);
    over(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_run_while_slots_move_and_a_master_dies() {
    let mut cluster = RedisCluster::start_with_replicas();
    // A replica may lack the last writes, so a job may be running without a worker: a short lease requeues it soon.
    let rules = Rules { lease: Duration::from_secs(3), ..Rules::default() };
    let store = store_with(&cluster.url(), rules, Clock::Store);
    let crowd = Crowd::start(&store, 60, 3).await;
    let key = key("due");
    for ended in [5, 10, 15] {
        crowd.until_ended(ended).await;
        cluster.move_slot(&key);
    }
    crowd.until_ended(20).await;
    let at = cluster.master_of(&key);
    let [master, replica] = cluster.pair(at);
    caught_up(master, replica).await;
    cluster.masters_mut()[at].kill();
    let totals = crowd.totals().await;
    assert_eq!((totals.ends, totals.lost), (60, 0), "{totals:?}");
    assert!(totals.took < Duration::from_secs(40), "{:?}", totals.took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reap_without_an_answer_of_every_node_fails() {
    let mut cluster = RedisCluster::start();
    let store = store(&cluster.url());
    store.reap(Default::default()).await.unwrap();
    for master in cluster.masters() {
        // Otherwise the other nodes stop too, some time after one has died.
        master.ask(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    // Any node except the one whose time is read.
    let at = (cluster.master_of("glimpse:{0}:due") + 1) % cluster.masters().len();
    cluster.masters_mut()[at].kill();
    store.now().await.unwrap();
    unavailable(store.reap(Default::default()).await);
    cluster.masters_mut()[at].restart();
    answered(|| store.reap(Default::default())).await;
}
