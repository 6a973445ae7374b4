//! The graceful shutdown.

use std::time::Duration;

use glimpse_api::Config;
use glimpse_shared::job::Status;
use serde_json::json;
use tokio::{net::TcpStream, time::Instant};

use crate::support::{Client, SOON, Stack};

const BODY: &[u8] = br#"{"prompt":"a heart","seed":1}"#;

async fn with_grace(grace: Duration) -> Stack {
    Stack::with(Config { shutdown_grace: grace, ..Config::default() }).await
}

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    let mut stack = Stack::start().await;
    let _never_used = TcpStream::connect(stack.address).await.unwrap();
    let mut kept = stack.client().await;
    assert_eq!(kept.ask("GET", "/health/live", &[], b"").await.status, 200);
    let started = Instant::now();
    stack.shut_down().await;
    assert!(started.elapsed() < Duration::from_secs(5), "it waited for nobody");
    assert!(!kept.more().await, "the idle connection is closed");
}

#[tokio::test]
async fn followers_reconnect_with_different_delays() {
    let mut stack = Stack::start().await;
    let id = stack.submit("a heart").await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let path = format!("/v1/jobs/{id}/events");
        let mut stream = stack.client().await.stream("GET", &path, &[], "").await;
        stream.block().await.unwrap();
        assert!(stream.block().await.unwrap().starts_with("id: 1\n"));
        streams.push(stream);
    }
    stack.shut_down().await;
    let mut retries = Vec::new();
    for mut stream in streams {
        let rest = stream.rest().await;
        assert_eq!(rest.len(), 1);
        let retry: u64 = rest[0].strip_prefix("retry: ").unwrap().parse().unwrap();
        assert!((1000..5000).contains(&retry));
        retries.push(retry);
    }
    retries.dedup();
    assert!(retries.len() > 1);
    assert_eq!(stack.status(id).await.status, Status::Queued, "the job was cancelled");
}

#[tokio::test]
async fn within_the_grace_a_fal_stream_is_served_to_its_end() {
    let mut stack = with_grace(SOON).await;
    let (mut stream, worker, mut lease) = stack.stream_with_preview().await;
    stack.ask_to_end();
    // New connections are refused.
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(stack.address).await.is_ok() {
        assert!(Instant::now() < deadline, "the listener is still open");
    }
    worker.preview(&mut lease, 5).await;
    assert!(stream.block().await.unwrap().starts_with("data: "));
    worker.complete(lease).await;
    let rest = stream.rest().await;
    assert!(rest[0].ends_with(r#""timings":{"inference":1.5,"decode":0.25}}"#));
    stack.shut_down().await;
}

#[tokio::test]
async fn after_the_grace_a_fal_stream_gets_an_error_and_its_job_is_cancelled() {
    let mut stack = with_grace(Duration::ZERO).await;
    let (mut stream, _worker, lease) = stack.stream_with_preview().await;
    stack.ask_to_end();
    let error = stream.block().await.unwrap();
    assert_eq!(
        error,
        r#"data: {"error":"runner_disconnected","detail":"This server is shutting down; retry the request"}"#
    );
    assert!(stream.next().await.is_err(), "the body ended normally");
    stack.shut_down().await;
    assert_eq!(stack.status(lease.job.id).await.status, Status::Cancelled);
}

#[tokio::test]
async fn after_the_grace_a_waiting_request_gets_503() {
    for path in ["/glimpse/demo", "/glimpse/demo/stream"] {
        let mut stack = with_grace(Duration::ZERO).await;
        let mut client = stack.client().await;
        client.request("POST", path, &[], BODY).await;
        let lease = stack.worker().claim().await;
        stack.ask_to_end();
        let answer = client.answer("POST").await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json(), json!({ "detail": "This server is shutting down; retry the request" }));
        assert_eq!(answer.header("x-fal-request-id"), Some(&*lease.job.id.to_string()));
        stack.shut_down().await;
        assert_eq!(stack.status(lease.job.id).await.status, Status::Cancelled);
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_delay_the_shutdown() {
    let mut stack = with_grace(Duration::ZERO).await;
    let mut worker = stack.worker();
    let mut client: Client = stack.client().await;
    client.request("POST", "/glimpse/demo/stream", &[], BODY).await;
    let mut lease = worker.claim().await;
    let large = glimpse_shared::event::Image::new("image/jpeg", 128, 128, &vec![7; 8 << 20]);
    worker.preview_of(&mut lease, 0, large).await;
    let started = Instant::now();
    stack.shut_down().await;
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(client);
}
