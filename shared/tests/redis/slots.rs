//! A cluster whose slots move, and whose nodes die, under a running job.

use futures::StreamExt;
use glimpse_shared::{
    event::{CancelledBy, Followed},
    job::{Release, Status},
    store::{Cancel, Finish, Released, Store},
};
use glimpse_test_support::RedisCluster;

use crate::{
    props::{answered, claim, job_key, store},
    suite::{app, completed, cursor, frame, job, next, over, preview},
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
        // The source says so with a sunsubscribe that nobody asked for.
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
    store.wait_for_work(&app()).await.unwrap();
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
    let mut unknown = store.follow(crate::suite::job("never submitted").id, None);
    assert_eq!(next(&mut unknown).await, Followed::Lost);
}
