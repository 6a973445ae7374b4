//! https on the port of http: everything else is the same.

use std::time::Duration;

use glimpse_api::Config;
use glimpse_shared::{event::Image, job::Status};
use rustls::HandshakeKind;
use tokio::{net::TcpStream, time::Instant};

use crate::support::{Client, SOON, Stack, fal};

const BODY: &[u8] = br#"{"prompt":"a heart","seed":1}"#;
const STREAM: &str = "/glimpse/demo/stream";

#[tokio::test]
async fn https_and_http_share_a_port_and_absolute_addresses_say_which() {
    let stack = Stack::secure().await;
    let mut plain = Client::connect(stack.address).await;
    let mut secure = stack.client().await;
    for (client, scheme) in [(&mut plain, "http"), (&mut secure, "https")] {
        for _ in 0..2 {
            assert_eq!(client.ask("GET", "/health/live", &[], b"").await.status, 200);
        }
        let host = [("host", "pictures.example")];
        let answer = client.ask("POST", fal::QUEUE, &host, fal::BODY.as_bytes()).await.json();
        let url = answer["status_url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&format!("{scheme}://pictures.example/queue/")), "{url}");
        // A trusted proxy knows more.
        for forwarded in ["http", "https"] {
            let headers = [host[0], ("x-forwarded-proto", forwarded)];
            let answer = client.ask("POST", fal::QUEUE, &headers, fal::BODY.as_bytes()).await.json();
            let url = answer["status_url"].as_str().unwrap().to_owned();
            assert!(url.starts_with(&format!("{forwarded}://pictures.example/queue/")), "{url}");
        }
    }
}

#[tokio::test]
async fn no_session_is_resumed_and_no_ticket_is_sent() {
    let stack = Stack::secure().await;
    let secure = stack.secure.as_ref().unwrap();
    for config in [secure.client(&[]), secure.old_client()] {
        for _ in 0..3 {
            let mut client = Client::secure(stack.address, config.clone()).await.unwrap();
            assert_eq!(client.ask("GET", "/health/live", &[], b"").await.status, 200);
            assert_eq!(client.tls().handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(client.tls().tls13_tickets_received(), 0);
            assert_eq!(client.tls().alpn_protocol(), None);
        }
    }
    let chosen = Client::secure(stack.address, secure.client(&["h2", "http/1.1"])).await.unwrap();
    assert_eq!(chosen.tls().alpn_protocol(), Some(&b"h2"[..]));
    let mut chosen = Client::secure(stack.address, secure.client(&["http/1.1"])).await.unwrap();
    assert_eq!(chosen.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(chosen.ask("GET", "/health/live", &[], b"").await.status, 200);
}

#[tokio::test]
async fn a_server_without_a_certificate_refuses_a_handshake() {
    let mut config = Config::default();
    let secure = Stack::secure().await;
    config.tls = Default::default();
    let plain = Stack::with(config).await;
    let client = secure.secure.as_ref().unwrap().client(&[]);
    assert!(Client::secure(plain.address, client).await.is_err());
    assert_eq!(plain.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn every_way_to_disconnect_cancels_the_job_at_once() {
    let stack = Stack::secure().await;
    for path in [STREAM, "/glimpse/demo"] {
        for how in ["closes", "says so and closes", "resets"] {
            let mut client = stack.client().await;
            client.request("POST", path, &[], BODY).await;
            let lease = stack.worker().claim().await;
            match how {
                "closes" => drop(client),
                "says so and closes" => {
                    client.half_close().await;
                    drop(client);
                }
                _ => client.reset(),
            }
            let left = Instant::now();
            stack.until(lease.job.id, Status::Cancelled).await;
            assert!(left.elapsed() < Duration::from_secs(3), "{path}, {how}: {:?}", left.elapsed());
        }
    }
}

#[tokio::test]
async fn a_half_closed_client_gets_everything() {
    let stack = Stack::secure().await;
    let mut client = stack.client().await;
    client.request("POST", STREAM, &[], BODY).await;
    client.half_close().await;
    let mut worker = stack.worker();
    let mut lease = worker.claim().await;
    let mut stream = client.opened().await;
    assert_eq!(stream.block().await.unwrap(), ": keep-alive");
    worker.preview(&mut lease, 0).await;
    assert!(stream.event().await.unwrap().starts_with(r#"data: {"image""#));
    worker.complete(lease).await;
    let rest = stream.rest().await;
    assert!(rest.last().unwrap().ends_with(r#""timings":{"inference":1.5,"decode":0.25}}"#));
}

#[tokio::test]
async fn a_shutdown_serves_a_stream_to_its_end_and_closes_idle_connections() {
    let config = Config { shutdown_grace: SOON, ..Config::default() };
    let mut stack = Stack::secure_with(config).await;
    let _silent = TcpStream::connect(stack.address).await.unwrap();
    let mut half = Client::connect(stack.address).await;
    half.send(b"\x16\x03\x01").await.unwrap();
    let mut idle = stack.client().await;
    assert_eq!(idle.ask("GET", "/health/live", &[], b"").await.status, 200);
    let (mut stream, worker, mut lease) = stack.stream_with_preview().await;
    stack.ask_to_end();
    while idle.more().await {}
    while half.more().await {}
    worker.preview(&mut lease, 5).await;
    assert!(stream.block().await.unwrap().starts_with("data: "));
    worker.complete(lease).await;
    assert!(stream.rest().await[0].ends_with(r#""timings":{"inference":1.5,"decode":0.25}}"#));
    stack.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_client_that_reads_nothing() {
    let config = Config { shutdown_grace: Duration::ZERO, ..Config::default() };
    let mut stack = Stack::secure_with(config).await;
    let mut client = stack.client().await;
    client.request("POST", STREAM, &[], BODY).await;
    let mut worker = stack.worker();
    let mut lease = worker.claim().await;
    let large = Image::new("image/jpeg", 128, 128, &vec![7; 8 << 20]);
    worker.preview_of(&mut lease, 0, large).await;
    let started = Instant::now();
    stack.shut_down().await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(stack.status(lease.job.id).await.status, Status::Cancelled);
}

/// Advances the server's time.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_connection_that_does_not_finish_its_begin_is_closed() {
    let stack = Stack::secure().await;
    for (begin, seconds) in [(&b""[..], 61), (b"PRI * HT", 61), (b"\x16\x03\x01\x02", 16)] {
        let mut client = Client::connect(stack.address).await;
        client.send(begin).await.unwrap();
        // A request behind it shows that the server has accepted it.
        assert_eq!(stack.get("/health/live").await.status, 200);
        pass(Duration::from_secs(seconds)).await;
        while client.more().await {}
    }
    assert_eq!(stack.get("/health/live").await.status, 200);
}
