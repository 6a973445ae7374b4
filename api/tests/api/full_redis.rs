//! A Redis without free memory.

use std::sync::Arc;

use glimpse_api::Config;
use glimpse_shared::{
    job::Status,
    store::{Clock, Finish, redis::RedisStore},
};
use glimpse_test_support::RedisServer;

use crate::support::{Stack, demo, record};

const SUBMITS: [(&str, &str); 3] = [
    ("/v1/jobs", r#"{"app":"glimpse/demo","prompt":"a heart"}"#),
    ("/glimpse/demo", r#"{"prompt":"a heart"}"#),
    ("/glimpse/demo/stream", r#"{"prompt":"a heart"}"#),
];

#[tokio::test]
async fn a_full_redis_accepts_no_new_jobs_and_ends_its_old_ones() {
    let server = RedisServer::start_with(&[]);
    let config = Config::default();
    let prefix = "glimpse".parse().unwrap();
    let store = RedisStore::connect(&(&*server.url()).into(), &prefix, config.rules(), Clock::Store).unwrap();
    let stack = Stack::over(Arc::new(store), config, Clock::Store).await;
    stack.store.heartbeat(&record("one", &demo())).await.unwrap();
    let (running, waiting) = (stack.submit("a heart").await, stack.submit("another").await);
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    assert_eq!(lease.job.id, running);

    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for (path, body) in SUBMITS {
        let answer = stack.post(path, body).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.header("retry-after").is_some());
    }
    // Commands that free memory still work: jobs end, and clients receive the terminal event.
    assert_eq!(worker.complete(lease).await, Finish::Finished);
    let stream = stack.get(&format!("/v1/jobs/{running}/events")).await;
    assert!(stream.text().contains("event: completed"), "{}", stream.text());
    assert_eq!(stack.ask("DELETE", &format!("/v1/jobs/{waiting}"), "").await.status, 200);
    assert_eq!(stack.status(waiting).await.status, Status::Cancelled);
    assert_eq!(stack.get("/health/ready").await.status, 200);

    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    stack.submit("there is room again").await;
}
