//! Clients that close their sending half and continue to read, and clients that disconnect.

use std::time::Duration;

use glimpse_api::Config;
use glimpse_shared::{id::JobId, job::Status, store::Lease};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Client, SOON, Stack, Stream, Worker, picture};

const BODY: &[u8] = br#"{"prompt":"a heart","seed":1}"#;
const PATH: &str = "/glimpse/demo/stream";

/// The timeout for a cancel: far below the interval of keep-alive comments.
const WITHIN_A_STEP: Duration = Duration::from_secs(3);

/// A client that has asked for fal's stream.
async fn asked(stack: &Stack) -> Client {
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], BODY).await;
    client
}

/// A half-closed client of a running job.
async fn half_closed(stack: &Stack) -> (Stream, Worker, Lease) {
    let mut client = asked(stack).await;
    client.half_close().await;
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    (client.opened().await, worker, lease)
}

async fn last_of_fal(stream: &mut Stream) -> String {
    let mut last = None;
    while let Some(event) = stream.event().await {
        last = Some(event);
    }
    last.unwrap()
}

fn result() -> String {
    let image = serde_json::to_string(&picture("final 0")).unwrap();
    let timings = r#"{"inference":1.5,"decode":0.25}"#;
    format!(r#"data: {{"images":[{image}],"image":{image},"seed":1,"prompt":"a heart","timings":{timings}}}"#)
}

async fn assert_cancelled_soon(stack: &Stack, id: JobId, how: &str) {
    let closed = Instant::now();
    stack.until(id, Status::Cancelled).await;
    assert!(closed.elapsed() < WITHIN_A_STEP, "{how}: after {:?}", closed.elapsed());
    let newest = stack.newest(id).await;
    assert_eq!(newest.json(), r#"{"type":"cancelled","by":"disconnect"}"#, "{how}");
}

#[tokio::test]
async fn a_half_closed_client_gets_the_head_at_once_and_then_everything() {
    let stack = Stack::start().await;
    let asked_at = Instant::now();
    let (mut stream, worker, mut lease) = half_closed(&stack).await;
    assert_eq!(stream.block().await.unwrap(), ": keep-alive");
    assert!(asked_at.elapsed() < WITHIN_A_STEP, "nothing is known of the job but that it runs");
    worker.preview(&mut lease, 0).await;
    assert!(stream.event().await.unwrap().starts_with(r#"data: {"image""#));
    worker.complete(lease).await;
    assert_eq!(last_of_fal(&mut stream).await, result());
}

#[tokio::test]
async fn a_waiting_job_of_a_half_closed_client_continues_to_wait() {
    let stack = Stack::start().await;
    let mut client = asked(&stack).await;
    client.half_close().await;
    let mut stream = client.opened().await;
    // The client accepts each of these comments.
    for _ in 0..4 {
        assert_eq!(stream.block().await.unwrap(), ": keep-alive");
    }
    stack.worker().make_next().await;
    assert_eq!(last_of_fal(&mut stream).await, result());
}

#[tokio::test]
async fn a_client_may_half_close_during_a_stream() {
    let stack = Stack::start().await;
    let client = asked(&stack).await;
    let mut worker = stack.worker();
    let mut lease = worker.claim().await;
    worker.preview(&mut lease, 0).await;
    let mut stream = client.opened().await;
    stream.event().await.unwrap();
    stream.client().half_close().await;
    assert_eq!(stream.block().await.unwrap(), ": keep-alive");
    worker.preview(&mut lease, 5).await;
    stream.event().await.unwrap();
    worker.complete(lease).await;
    assert_eq!(last_of_fal(&mut stream).await, result());
}

#[tokio::test]
async fn a_half_closed_follower_gets_every_event() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    for claimed in [false, true] {
        let id = stack.submit("a heart").await;
        let early = if claimed { Some(worker.claim().await) } else { None };
        let mut client = stack.client().await;
        client.request("GET", &format!("/v1/jobs/{id}/events"), &[], b"").await;
        client.half_close().await;
        let mut stream = client.opened().await;
        while stream.block().await.unwrap() != ": keep-alive" {}
        let mut lease = match early {
            Some(lease) => lease,
            None => worker.claim().await,
        };
        assert_eq!(lease.job.id, id);
        worker.preview(&mut lease, 0).await;
        worker.complete(lease).await;
        let mut last = String::new();
        while let Some(event) = stream.event().await {
            last = event;
        }
        assert!(last.starts_with("id: 4\nevent: completed\n"), "{last}");
    }
}

#[tokio::test]
async fn a_half_closed_client_gets_complete_responses() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let id = stack.submit("a heart").await;
    stack.until(id, Status::Completed).await;
    let job = format!("/v1/jobs/{id}");
    let submit = r#"{"app":"glimpse/demo","prompt":"a heart"}"#;
    for (method, path, body, status) in [
        ("GET", &*job, "", 200),
        ("GET", &*format!("{job}/events"), "", 200),
        ("GET", &*format!("{job}/image"), "", 200),
        ("DELETE", &*job, "", 200),
        ("POST", "/v1/jobs", submit, 202),
        ("POST", "/v1/jobs", "{", 422),
        ("POST", PATH, r#"{"prompt":"a heart"}"#, 200),
        ("POST", PATH, r#"{"prompt":7}"#, 422),
        ("POST", "/glimpse/demo", r#"{"prompt":7}"#, 422),
        ("GET", "/", "", 200),
        ("GET", "/v1/workers", "", 200),
        ("GET", "/v1/dead", "", 200),
        ("GET", "/health/ready", "", 200),
        ("GET", "/nowhere", "", 404),
    ] {
        let mut client = stack.client().await;
        client.request(method, path, &[], body.as_bytes()).await;
        client.half_close().await;
        let answer = client.answer(method).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(!answer.body.is_empty(), "{method} {path}");
        assert!(!client.more().await, "{method} {path}: the connection ends after the answer");
    }
}

#[tokio::test]
async fn a_route_that_cannot_write_before_its_answer_says_why_it_cancels() {
    let stack = Stack::start().await;
    for (headers, status) in
        [(&[][..], Status::Cancelled), (&[("x-glimpse-on-disconnect", "detach")], Status::Running)]
    {
        let mut client = stack.client().await;
        client.request("POST", "/glimpse/demo", headers, BODY).await;
        let lease = stack.worker().claim().await;
        client.half_close().await;
        let answer = client.answer("POST").await;
        assert_eq!((answer.status, &answer.json()["error_type"]), (499, &json!("client_cancelled")));
        assert!(answer.text().contains("/stream"), "{}", answer.text());
        assert_eq!(answer.header("x-fal-request-id"), Some(&*lease.job.id.to_string()));
        stack.until(lease.job.id, status).await;
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_400() {
    let stack = Stack::start().await;
    for rest in ["content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n5\r\n{"] {
        let mut client = stack.client().await;
        client.send(format!("POST {PATH} HTTP/1.1\r\nhost: x\r\n{rest}").as_bytes()).await.unwrap();
        client.half_close().await;
        let answer = client.answer("POST").await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.json()["detail"].as_str().unwrap().contains("shorter"), "{}", answer.text());
    }
}

/// The ways of a client to disconnect. In the last ones it half-closes first.
const LEAVING: [&str; 5] =
    ["closes", "resets", "closes with bytes unread", "half-closes, then closes", "half-closes, then resets"];

async fn leave(mut client: Client, how: &str) {
    if how.starts_with("half-closes") {
        client.half_close().await;
        // The server has seen the half-close and has written its first comments.
        client.until(": keep-alive\n\n").await;
    }
    match how {
        "closes with bytes unread" => client.close_unread().await,
        _ if how.ends_with("resets") => client.reset(),
        _ => drop(client),
    }
}

#[tokio::test]
async fn a_disconnect_cancels_a_waiting_job_at_once() {
    let stack = Stack::start().await;
    for how in LEAVING.into_iter().filter(|how| *how != "closes with bytes unread") {
        let client = asked(&stack).await;
        // A claimed job is released, so that it waits.
        let lease = stack.worker().claim().await;
        stack.store.release(&lease, &glimpse_shared::job::Release::Drain).await.unwrap();
        leave(client, how).await;
        assert_cancelled_soon(&stack, lease.job.id, how).await;
    }
}

#[tokio::test]
async fn a_disconnect_cancels_a_running_job_at_once() {
    let stack = Stack::start().await;
    for how in LEAVING {
        let client = asked(&stack).await;
        let worker = &mut stack.worker();
        let mut lease = worker.claim().await;
        worker.preview(&mut lease, 0).await;
        leave(client, how).await;
        assert_cancelled_soon(&stack, lease.job.id, how).await;
    }
}

#[tokio::test]
async fn a_disconnect_after_a_pipelined_request_cancels_the_job_at_once() {
    let stack = Stack::start().await;
    for how in ["closes", "resets"] {
        let mut client = asked(&stack).await;
        let lease = stack.worker().claim().await;
        client.request("GET", "/health/live", &[], b"").await;
        leave(client, how).await;
        assert_cancelled_soon(&stack, lease.job.id, how).await;
    }
}

#[tokio::test]
async fn a_disconnect_cancels_the_job_of_a_waiting_request() {
    let stack = Stack::start().await;
    for how in ["closes", "resets"] {
        let mut client = stack.client().await;
        client.request("POST", "/glimpse/demo", &[], BODY).await;
        let lease = stack.worker().claim().await;
        leave(client, how).await;
        assert_cancelled_soon(&stack, lease.job.id, how).await;
    }
}

#[tokio::test]
async fn a_disconnected_follower_frees_its_permit_at_once() {
    let stack = Stack::with(Config { max_streams: 1, ..Config::default() }).await;
    let id = stack.submit("a heart").await;
    let path = format!("/v1/jobs/{id}/events");
    for how in LEAVING {
        let mut client = stack.client().await;
        client.request("GET", &path, &[], b"").await;
        leave(client, how).await;
        let left = Instant::now();
        while stack.client().await.ask("HEAD", &path, &[], b"").await.status != 200 {
            assert!(left.elapsed() < WITHIN_A_STEP, "{how}");
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(stack.status(id).await.status, Status::Queued, "the job is nobody's in particular");
}

#[tokio::test]
async fn pipelined_requests_of_a_half_closed_client_are_answered_in_order() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let mut client = stack.client().await;
    for _ in 0..2 {
        client.request("GET", "/health/live", &[], b"").await;
        client.request("POST", PATH, &[], BODY).await;
        client.request("POST", "/v1/jobs", &[], b"{").await;
    }
    client.half_close().await;
    for _ in 0..2 {
        assert_eq!(client.answer("GET").await.status, 200);
        let stream = client.answer("POST").await;
        assert_eq!(stream.status, 200);
        assert!(stream.text().ends_with(&format!("{}\n\n", result())));
        assert_eq!(client.answer("POST").await.status, 422);
    }
    assert!(!client.more().await);
}

#[tokio::test]
async fn a_connection_is_reused_after_a_stream() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let mut client = stack.client().await;
    for _ in 0..3 {
        let answer = client.ask("POST", PATH, &[], BODY).await;
        assert!(answer.text().ends_with(&format!("{}\n\n", result())));
        assert_eq!(client.ask("GET", "/health/live", &[], b"").await.status, 200);
    }
    // Closing the idle connection has no effect.
    client.half_close().await;
    let ended = Instant::now();
    assert!(!client.more().await);
    assert!(ended.elapsed() < SOON / 2);
}
