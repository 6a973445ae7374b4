//! `GET /metrics`.

use std::{sync::Arc, time::Duration};

use glimpse_api::Config;
use glimpse_shared::{
    id::Micros,
    metrics::{Metrics, Role},
    store::{Clock, memory::MemoryStore},
};
use glimpse_test_support::metrics::{Labels, Parsed};
use tokio::time::Instant;

use crate::support::{SOON, Stack, demo, record};

const APP: Labels<'static> = &[("app", "glimpse/demo")];

#[cfg(test)]
async fn metrics(stack: &Stack) -> Parsed {
    let answer = stack.get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Parsed::of(answer.text())
}

#[cfg(test)]
/// Waits until this is true of the metrics: the list of workers may be a second old.
async fn until(stack: &Stack, so: impl Fn(&Parsed) -> bool) {
    let deadline = Instant::now() + SOON;
    while !so(&metrics(stack).await) {
        assert!(Instant::now() < deadline, "the metrics do not become as expected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An API whose store counts what ends in it, as in `glimpse serve`.
#[cfg(test)]
async fn counting() -> Stack {
    let clock = Clock::manual(Micros(1_700_000_000_000_000));
    let metrics = Metrics::new(Role::Serve);
    let config = Config { metrics: Some(metrics.clone()), ..Config::default() };
    let store = MemoryStore::new(config.rules(), clock.clone()).counting(metrics.jobs);
    Stack::over(Arc::new(store), config, clock).await
}

#[tokio::test]
async fn without_a_worker_every_family_is_there() {
    let stack = counting().await;
    let parsed = metrics(&stack).await;
    let kinds = [
        ("glimpse_expected_wait_seconds", "gauge"),
        ("glimpse_jobs_total", "counter"),
        ("glimpse_leases_lost_total", "counter"),
        ("glimpse_preview_overhead_ratio", "gauge"),
        ("glimpse_queue_depth", "gauge"),
        ("glimpse_queue_oldest_wait_seconds", "gauge"),
        ("glimpse_sse_bytes_total", "counter"),
        ("glimpse_sse_clients", "gauge"),
        ("glimpse_stage_seconds", "histogram"),
        ("glimpse_steps_total", "counter"),
    ];
    let families: Vec<_> =
        parsed.families().iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(families, kinds);
    assert_eq!(parsed.samples("glimpse_queue_depth"), 0);
}

#[tokio::test]
async fn the_queue_is_read_with_every_answer() {
    let stack = counting().await;
    stack.store.heartbeat(&record("one", &demo())).await.unwrap();
    let gauges = async || {
        let parsed = metrics(&stack).await;
        ["glimpse_queue_depth", "glimpse_queue_oldest_wait_seconds", "glimpse_expected_wait_seconds"]
            .map(|name| parsed.value(name, APP))
    };
    until(&stack, |parsed| parsed.samples("glimpse_queue_depth") == 1).await;
    assert_eq!(gauges().await, [0.0; 3]);
    stack.submit("a heart").await;
    stack.clock.advance(Duration::from_secs(3));
    stack.submit("a house").await;
    // No job was completed yet.
    assert_eq!(gauges().await, [2.0, 3.0, 3.0]);

    let mut worker = stack.worker();
    let lease = worker.claim().await;
    stack.clock.advance(Duration::from_secs(4));
    worker.complete(lease).await;
    let listed = stack.get("/v1/apps").await.json()["apps"][0]["expected_wait"].as_f64().unwrap();
    assert_eq!(gauges().await, [1.0, 4.0, listed]);
}

#[tokio::test]
async fn an_end_is_counted_by_its_status() {
    let stack = counting().await;
    stack.store.heartbeat(&record("one", &demo())).await.unwrap();
    let ended = async |outcome: &str| {
        let labels = [("app", "glimpse/demo"), ("outcome", outcome)];
        metrics(&stack).await.value("glimpse_jobs_total", &labels)
    };
    until(&stack, |parsed| parsed.samples("glimpse_queue_depth") == 1).await;
    for outcome in ["completed", "failed", "cancelled"] {
        assert_eq!(ended(outcome).await, 0.0);
    }
    let (first, second) = (stack.submit("a heart").await, stack.submit("a house").await);
    stack.submit("a hill").await;
    for _ in 0..2 {
        // A repeated cancel ends nothing.
        stack.ask("DELETE", &format!("/v1/jobs/{second}"), "").await;
    }
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    worker.complete(lease).await;
    assert!(stack.status(first).await.status.is_terminal());
    stack.clock.advance(Duration::from_secs(3601));
    stack.store.reap(stack.store.now().await.unwrap()).await.unwrap();
    assert_eq!([ended("completed").await, ended("failed").await, ended("cancelled").await], [1.0; 3]);
    assert!(metrics(&stack).await.labels().is_subset(&["app", "outcome", "stage"].into()));
}

#[tokio::test]
async fn open_streams_and_their_bytes_are_counted() {
    let stack = counting().await;
    stack.store.heartbeat(&record("one", &demo())).await.unwrap();
    let clients = async || metrics(&stack).await.value("glimpse_sse_clients", &[]);
    let bytes = async || metrics(&stack).await.value("glimpse_sse_bytes_total", &[]);
    until(&stack, |parsed| parsed.samples("glimpse_queue_depth") == 1).await;
    let id = stack.submit("a heart").await;
    assert_eq!((clients().await, bytes().await), (0.0, 0.0));
    let followed = stack.client().await.stream("GET", &format!("/v1/jobs/{id}/events"), &[], "").await;
    let (open, sent) = ("glimpse_sse_clients", "glimpse_sse_bytes_total");
    until(&stack, |parsed| parsed.value(open, &[]) == 1.0 && parsed.value(sent, &[]) > 0.0).await;
    let first = bytes().await;
    stack.ask("DELETE", &format!("/v1/jobs/{id}"), "").await;
    until(&stack, |parsed| parsed.value(open, &[]) == 0.0).await;
    assert!(bytes().await > first);
    drop(followed);
}

#[tokio::test]
async fn no_page_of_another_origin_reads_the_metrics() {
    let stack = counting().await;
    let origin = [("origin", "https://example.com")];
    let answer = stack.client().await.ask("GET", "/metrics", &origin, b"").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
}
