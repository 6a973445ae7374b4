//! A store with `submit_wait_replicas`.

use std::sync::Arc;

use glimpse_api::Config;
use glimpse_shared::{
    job::Status,
    store::{Clock, redis::RedisStore},
};
use glimpse_test_support::RedisServer;

use crate::support::{Stack, demo, record};

const BODY: &str = r#"{"app":"glimpse/demo","prompt":"a heart"}"#;

#[tokio::test]
async fn a_submit_that_too_few_replicas_have_is_503_and_the_job_is_there() {
    let master = RedisServer::start();
    let replica = master.start_replica();
    let config = Config { submit_wait_replicas: 1, ..Config::default() };
    let prefix = "glimpse".parse().unwrap();
    let store = RedisStore::connect(&(&*master.url()).into(), &prefix, config.rules(), Clock::Store).unwrap();
    let stack = Stack::over(Arc::new(store), config, Clock::Store).await;
    stack.store.heartbeat(&record("one", &demo())).await.unwrap();
    assert_eq!(stack.post("/v1/jobs", BODY).await.status, 202);

    replica.pause();
    let key = [("idempotency-key", "order 66")];
    let refused = stack.client().await.ask("POST", "/v1/jobs", &key, BODY.as_bytes()).await;
    assert_eq!(refused.status, 503);
    let id = refused.json()["id"].as_str().unwrap().to_owned();
    let detail = format!("The job {id} was accepted, but only 0 of 1 replicas of the store confirmed it");
    assert_eq!(refused.json()["detail"], *detail);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(stack.get(&format!("/v1/jobs/{id}")).await.json()["status"], "queued");
    let again = stack.client().await.ask("POST", "/v1/jobs", &key, BODY.as_bytes()).await;
    assert_eq!((again.status, again.json()["id"].as_str().unwrap()), (200, &*id));

    // The client that waited on its connection got an error, so its job is cancelled.
    let refused = stack.post("/glimpse/demo", r#"{"prompt":"a heart"}"#).await;
    assert_eq!(refused.status, 503);
    stack.until(refused.json()["id"].as_str().unwrap().parse().unwrap(), Status::Cancelled).await;

    replica.resume();
    assert_eq!(stack.post("/v1/jobs", BODY).await.status, 202);
}
