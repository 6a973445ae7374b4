//! A server with a replica: both have a confirmed job.

use glimpse_shared::{
    job::{Release, Status},
    store::{Clock, Retry, Rules, Store, Submit},
};
use glimpse_test_support::{RedisServer, Reply, jobs::job};

use crate::helpers::{claim, job_key, store_with};

#[tokio::test]
async fn a_submit_is_confirmed_by_its_replicas() {
    let master = RedisServer::start();
    let replica = master.start_replica();
    let rules = Rules { submit_replicas: 1, attempts: 1, ..Rules::default() };
    let store = store_with(&master.url(), rules, Clock::Store);
    let confirmed = job("on both");
    assert_eq!(store.submit(&confirmed).await.unwrap(), Submit::Submitted { position: 0 });
    assert_eq!(replica.ask(&["EXISTS", &job_key(confirmed.id)]), Reply::Number(1));
    let lease = claim(&store, "w1", 1).await;
    store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();

    replica.pause();
    let unconfirmed = job("on one");
    assert_eq!(store.submit(&unconfirmed).await.unwrap(), Submit::Unconfirmed { replicas: 0 });
    assert_eq!(store.submit(&unconfirmed).await.unwrap(), Submit::Duplicate);
    assert_eq!(store.status(unconfirmed.id).await.unwrap().unwrap().status, Status::Queued);
    let id = confirmed.id.retried();
    assert_eq!(store.retry(confirmed.id).await.unwrap(), Retry::Unconfirmed { id, replicas: 0 });
    assert_eq!(store.retry(confirmed.id).await.unwrap(), Retry::Duplicate { id });

    replica.resume();
    assert_eq!(store.submit(&job("on both again")).await.unwrap(), Submit::Submitted { position: 2 });
    assert_eq!(replica.ask(&["EXISTS", &job_key(unconfirmed.id)]), Reply::Number(1));
}

#[tokio::test]
async fn with_too_few_replicas_a_submit_is_unconfirmed() {
    let master = RedisServer::start();
    let _replica = master.start_replica();
    let rules = Rules { submit_replicas: 2, ..Rules::default() };
    let store = store_with(&master.url(), rules, Clock::Store);
    assert_eq!(store.submit(&job("a heart")).await.unwrap(), Submit::Unconfirmed { replicas: 1 });
}
