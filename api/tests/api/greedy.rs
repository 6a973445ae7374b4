//! Clients that take time or memory: each gets so much and no more.

use std::time::Duration;

use glimpse_api::Config;

use crate::support::{Client, Stack};

/// Lets time pass for the server, whose sockets have nothing to tell meanwhile.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A connection that the server has accepted and waits on.
async fn known(stack: &Stack) -> Client {
    let mut client = stack.client().await;
    assert_eq!(client.ask("GET", "/health/live", &[], b"").await.status, 200);
    client
}

#[tokio::test]
async fn who_does_not_finish_a_head_is_hung_up_on() {
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
async fn who_does_not_finish_a_body_is_told_so() {
    let stack = Stack::start().await;
    for chunk in ["content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        let mut client = known(&stack).await;
        let head = format!("POST /v1/jobs HTTP/1.1\r\nhost: glimpse\r\nexpect: 100-continue\r\n{chunk}");
        client.send(head.as_bytes()).await.unwrap();
        // The server reads the body by now.
        client.until("100 Continue\r\n\r\n").await;
        pass(Duration::from_secs(121)).await;
        assert_eq!(client.answer("POST").await.status, 408);
    }
}

#[tokio::test]
async fn bodies_have_so_much_room_together() {
    let stack = Stack::with(Config { body_limit: 100_000, ..Config::default() }).await;
    // Each but for its last byte, and together as much as there is room for.
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = known(&stack).await;
        let head = "POST /v1/jobs HTTP/1.1\r\nhost: glimpse\r\ncontent-length: 100000\r\n\r\n";
        client.send(head.as_bytes()).await.unwrap();
        client.send(&[b' '; 99_999]).await.unwrap();
        clients.push(client);
    }
    let refused = loop {
        let answer = stack.client().await.ask("POST", "/v1/jobs", &[], &[b' '; 1000]).await;
        // The server may not have read all of theirs yet.
        match answer.status {
            422 => tokio::task::yield_now().await,
            _ => break answer,
        }
    };
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("2")));
    // Whoever needs no room is served; whoever has some gets on; and then there is room again.
    assert_eq!(stack.get("/health/live").await.status, 200);
    for client in &mut clients {
        client.send(b" ").await.unwrap();
        assert_eq!(client.answer("POST").await.status, 422);
    }
    let answer = stack.client().await.ask("POST", "/v1/jobs", &[], &[b' '; 100_000]).await;
    assert_eq!(answer.status, 422);
}

#[tokio::test]
async fn a_waiting_request_has_no_room_any_more() {
    let stack = Stack::with(Config { body_limit: 1000, ..Config::default() }).await;
    let body = format!(r#"{{"prompt": "{}"}}"#, "a".repeat(900));
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
