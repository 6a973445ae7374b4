//! `GET /health`: whether a worker takes jobs.

use std::{sync::Arc, time::Duration};

use glimpse_api::Config;
use glimpse_shared::{
    id::Micros,
    job::WorkerState,
    store::{Clock, memory::MemoryStore},
};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{SOON, Stack, demo, record};

#[cfg(test)]
/// Waits until `/health` has a status: the list of workers may be a second old.
async fn until(stack: &Stack, status: u16) {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = stack.get("/health").await;
        if answer.status == status {
            let body = answer.json();
            assert_eq!(body["status"], if status == 200 { "ready" } else { "not ready" });
            assert_eq!(body["detail"].is_string(), status == 503, "{body}");
            assert_eq!(answer.header("retry-after").is_some(), status == 503);
            return;
        }
        assert!(Instant::now() < deadline, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_service_without_a_worker_that_takes_jobs_is_not_healthy() {
    let clock = Clock::manual(Micros(1_700_000_000_000_000));
    let config = Config::default();
    let store = Arc::new(MemoryStore::new(config.rules(), clock.clone()));
    let stack = Stack::over(store, config, clock).await;
    until(&stack, 503).await;
    assert_eq!(stack.get("/health/ready").await.status, 200);
    let mut worker = record("one", &demo());
    stack.store.heartbeat(&worker).await.unwrap();
    until(&stack, 200).await;
    worker.state = WorkerState::Busy;
    stack.store.heartbeat(&worker).await.unwrap();
    until(&stack, 200).await;
    worker.state = WorkerState::Draining;
    stack.store.heartbeat(&worker).await.unwrap();
    until(&stack, 503).await;
    worker.state = WorkerState::Idle;
    stack.store.heartbeat(&worker).await.unwrap();
    until(&stack, 200).await;
    // Its last heartbeat is too old.
    stack.clock.advance(Duration::from_secs(31));
    until(&stack, 503).await;
    let page = stack.client().await.ask("GET", "/health/", &[("origin", "https://example.com")], b"").await;
    assert_eq!((page.status, page.header("access-control-allow-origin")), (503, Some("*")));
    assert_eq!(page.json()["status"], json!("not ready"));
}
