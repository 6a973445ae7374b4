//! Clients that use much time or memory: both are limited.

use std::time::Duration;

use glimpse_api::Config;

use crate::support::{Client, SOON, Stack};

/// Advances the server's time.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A connection that the server has accepted.
async fn known(stack: &Stack) -> Client {
    let mut client = stack.client().await;
    assert_eq!(client.ask("GET", "/health/live", &[], b"").await.status, 200);
    client
}

#[tokio::test]
async fn an_unfinished_head_closes_the_connection() {
    let stack = Stack::start().await;
    let mut clients = Vec::new();
    for start in ["", "G", "GET /health/live HTTP/1.1\r\nhost: glimpse\r\n"] {
        let mut client = known(&stack).await;
        client.send(start.as_bytes()).await.unwrap();
        clients.push(client);
    }
    pass(Duration::from_secs(61)).await;
    for mut client in clients {
        while client.more().await {}
    }
    assert_eq!(stack.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn an_unfinished_body_is_408() {
    let stack = Stack::start().await;
    for chunk in ["content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        let mut client = known(&stack).await;
        let head = format!("POST /v1/jobs HTTP/1.1\r\nhost: glimpse\r\nexpect: 100-continue\r\n{chunk}");
        client.send(head.as_bytes()).await.unwrap();
        // The server is reading the body.
        client.until("100 Continue\r\n\r\n").await;
        pass(Duration::from_secs(121)).await;
        assert_eq!(client.answer("POST").await.status, 408);
    }
}

/// Uploads that stall before their last byte, and that use the whole limit for their kind of body.
async fn stalled(stack: &Stack, uploads: usize, head: &str, bytes: &[u8], probe: usize) -> Vec<Client> {
    let deadline = tokio::time::Instant::now() + SOON;
    let head = format!("POST /v1/jobs HTTP/1.1\r\nhost: glimpse\r\n{head}\r\n\r\n");
    loop {
        let mut clients = Vec::new();
        for _ in 0..uploads {
            let mut client = stack.client().await;
            client.send(head.as_bytes()).await.unwrap();
            client.send(bytes).await.unwrap();
            clients.push(client);
        }
        for _ in 0..uploads * 10 {
            assert_eq!(stack.get("/health/live").await.status, 200, "what has no body needs no room");
        }
        let answer = stack.client().await.ask("POST", "/v1/jobs", &[], &vec![b' '; probe]).await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), Some("2"));
            return clients;
        }
        // The server had not read all of the others, so one of them was rejected instead of this one.
        assert_eq!(answer.status, 422);
        assert!(tokio::time::Instant::now() < deadline, "there is more room than was said");
    }
}

const LIMIT: usize = 1 << 20;

/// The head of an upload, and its body without the last byte: once with a length and once chunked.
fn uploads() -> [(String, Vec<u8>); 2] {
    let spaces = vec![b' '; LIMIT - 1];
    let chunked = [format!("{LIMIT:x}\r\n").as_bytes(), &spaces].concat();
    [(format!("content-length: {LIMIT}"), spaces), ("transfer-encoding: chunked".to_owned(), chunked)]
}

#[tokio::test]
async fn small_bodies_never_wait_for_large_ones() {
    for (head, bytes) in uploads() {
        let stack = Stack::with(Config { body_limit: LIMIT as u64, ..Config::default() }).await;
        let mut clients = stalled(&stack, 16, &head, &bytes, LIMIT / 2).await;
        for size in [1, 1000, 256 << 10] {
            for path in ["/v1/jobs", "/glimpse/demo", "/glimpse/demo/stream"] {
                let answer = stack.client().await.ask("POST", path, &[], &vec![b' '; size]).await;
                assert_eq!(answer.status, 422, "{size} bytes to {path}");
            }
        }
        // The other uploads finish, and then there is room again.
        for client in &mut clients {
            client.send(b" ").await.unwrap();
            if head.ends_with("chunked") {
                client.send(b"\r\n0\r\n\r\n").await.unwrap();
            }
            assert_eq!(client.answer("POST").await.status, 422);
        }
        let answer = stack.client().await.ask("POST", "/v1/jobs", &[], &[b' '; LIMIT]).await;
        assert_eq!(answer.status, 422);
    }
}

#[tokio::test]
async fn an_upload_that_stalls_gives_its_room_to_others_within_fifteen_seconds() {
    for (head, bytes) in uploads() {
        let stack = Stack::with(Config { body_limit: LIMIT as u64, ..Config::default() }).await;
        let clients = stalled(&stack, 16, &head, &bytes, LIMIT / 2).await;
        pass(Duration::from_secs(16)).await;
        for mut client in clients {
            assert_eq!(client.answer("POST").await.status, 408);
        }
        let answer = stack.client().await.ask("POST", "/v1/jobs", &[], &[b' '; LIMIT]).await;
        assert_eq!(answer.status, 422);
    }
}

#[tokio::test]
async fn small_bodies_have_a_limit_together() {
    // The limit is 256 bodies of 16 to 256 KiB.
    let stack = Stack::with(Config { body_limit: 32 << 10, ..Config::default() }).await;
    let bytes = [b' '; (32 << 10) - 1];
    let mut clients = stalled(&stack, 256, "content-length: 32768", &bytes, 20_000).await;
    // Ordinary requests are far smaller, and do not wait for them.
    assert_eq!(stack.client().await.ask("POST", "/v1/jobs", &[], &[b' '; 1000]).await.status, 422);
    pass(Duration::from_secs(16)).await;
    for client in &mut clients {
        assert_eq!(client.answer("POST").await.status, 408);
    }
    assert_eq!(stack.client().await.ask("POST", "/v1/jobs", &[], &[b' '; 20_000]).await.status, 422);
}

#[tokio::test]
async fn a_queued_request_frees_its_memory() {
    let stack = Stack::with(Config { body_limit: LIMIT as u64, ..Config::default() }).await;
    let body = format!(r#"{{"prompt": "a heart", "unknown": "{}"}}"#, "a".repeat(LIMIT - 100));
    let mut worker = stack.worker();
    let mut waiting = Vec::new();
    for _ in 0..40 {
        let mut client = stack.client().await;
        client.request("POST", "/glimpse/demo", &[], body.as_bytes()).await;
        waiting.push((client, worker.claim().await));
    }
    for (mut client, lease) in waiting {
        worker.complete(lease).await;
        assert_eq!(client.answer("POST").await.status, 200);
    }
}
