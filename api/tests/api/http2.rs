//! HTTP/2, by ALPN and with prior knowledge.

use std::time::Duration;

use bytes::Bytes;
use glimpse_api::Config;
use glimpse_shared::job::Status;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Version,
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::support::{SOON, Stack, fal};

const STREAM: &str = "/glimpse/demo/stream";
const BODY: &str = r#"{"prompt":"a heart","seed":1}"#;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A connection of HTTP/2, and the task that drives it.
struct Http2 {
    send: SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
    /// The same socket, to close it whatever the connection does.
    socket: std::net::TcpStream,
    scheme: &'static str,
}

impl Http2 {
    /// By ALPN if the server has a certificate, else with prior knowledge.
    async fn connect(stack: &Stack) -> Self {
        let stream = TcpStream::connect(stack.address).await.unwrap().into_std().unwrap();
        let socket = stream.try_clone().unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        let Some(secure) = &stack.secure else {
            let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            return Self { send, connection: tokio::spawn(connection), socket, scheme: "http" };
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connector = TlsConnector::from(secure.client(&["h2", "http/1.1"]));
        let stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        Self { send, connection: tokio::spawn(connection), socket, scheme: "https" }
    }

    async fn ask(&mut self, method: &str, path: &str, body: &'static str) -> Response<Incoming> {
        self.send.ready().await.unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}://pictures.example{path}", self.scheme))
            .header("content-type", "application/json");
        let asked = self.send.send_request(request.body(Full::from(body)).unwrap());
        timeout(SOON, asked).await.expect("an answer").unwrap()
    }
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn stacks() -> [Stack; 2] {
    [Stack::start().await, Stack::secure().await]
}

#[tokio::test]
async fn every_wire_answers() {
    for stack in stacks().await {
        let mut http2 = Http2::connect(&stack).await;
        let live = http2.ask("GET", "/health/live", "").await;
        assert_eq!((live.status().as_u16(), live.version()), (200, Version::HTTP_2));
        let submitted = http2.ask("POST", fal::QUEUE, BODY).await;
        let submitted: Value = serde_json::from_str(&text(submitted).await).unwrap();
        let expected = format!("{}://pictures.example/queue/", http2.scheme);
        assert!(submitted["status_url"].as_str().unwrap().starts_with(&expected), "{submitted}");
        assert_eq!(http2.ask("POST", "/v1/jobs", "{").await.status(), 422);
        // The name of another machine, as in HTTP/1.
        assert_eq!(http2.ask("GET", "/v1/dead", "").await.status(), 403);
        let upgrade = http2.ask("GET", "/nowhere", "").await;
        assert_eq!(upgrade.status(), 404);
    }
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    for stack in stacks().await {
        let _worker = stack.diligent_worker();
        let mut http2 = Http2::connect(&stack).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(http2.ask("POST", STREAM, BODY).await);
        }
        for stream in streams {
            assert_eq!(stream.headers()["content-type"], "text/event-stream; charset=utf-8");
            let events = text(stream).await;
            assert!(events.ends_with("\"timings\":{\"inference\":1.5,\"decode\":0.25}}\n\n"), "{events}");
        }
        let run = http2.ask("POST", "/glimpse/demo", BODY).await;
        assert_eq!(run.status(), 200);
    }
}

async fn assert_cancelled_soon(stack: &Stack, id: glimpse_shared::id::JobId) {
    let left = Instant::now();
    stack.until(id, Status::Cancelled).await;
    assert!(left.elapsed() < Duration::from_secs(3), "after {:?}", left.elapsed());
}

#[tokio::test]
async fn a_reset_stream_or_a_lost_connection_cancels_the_job() {
    for stack in stacks().await {
        let mut http2 = Http2::connect(&stack).await;
        let mut worker = stack.worker();

        let stream = http2.ask("POST", STREAM, BODY);
        let claimed = async {
            let mut lease = worker.claim().await;
            worker.preview(&mut lease, 0).await;
            lease
        };
        let (stream, lease) = tokio::join!(stream, claimed);
        drop(stream);
        assert_cancelled_soon(&stack, lease.job.id).await;

        for path in ["/glimpse/demo", STREAM] {
            let lease = {
                let waiting = http2.ask("POST", path, BODY);
                tokio::select! {
                    lease = worker.claim() => lease,
                    answer = waiting => panic!("{path} answered {}", answer.status()),
                }
            };
            assert_cancelled_soon(&stack, lease.job.id).await;
        }
        // Others on the connection do not notice.
        assert_eq!(http2.ask("GET", "/health/live", "").await.status(), 200);

        let lease = tokio::select! {
            lease = worker.claim() => lease,
            answer = http2.ask("POST", "/glimpse/demo", BODY) => panic!("answered {}", answer.status()),
        };
        assert_cancelled_soon(&stack, lease.job.id).await;
        let path = "/glimpse/demo";
        let mut other = Http2::connect(&stack).await;
        let socket = other.socket.try_clone().unwrap();
        let waiting = tokio::spawn(async move { other.ask("POST", path, BODY).await.status() });
        let lease = worker.claim().await;
        socket.shutdown(std::net::Shutdown::Both).unwrap();
        assert_cancelled_soon(&stack, lease.job.id).await;
        waiting.abort();
    }
}

#[tokio::test]
async fn a_shutdown_serves_a_stream_to_its_end() {
    let config = || Config { shutdown_grace: SOON, ..Config::default() };
    for mut stack in [Stack::with(config()).await, Stack::secure_with(config()).await] {
        let idle = Http2::connect(&stack).await;
        let mut http2 = Http2::connect(&stack).await;
        let mut worker = stack.worker();
        let claimed = async {
            let mut lease = worker.claim().await;
            worker.preview(&mut lease, 0).await;
            lease
        };
        let (mut stream, lease) = tokio::join!(http2.ask("POST", STREAM, BODY), claimed);
        stack.ask_to_end();
        timeout(SOON, idle.connection).await.expect("the idle connection is closed").unwrap().unwrap();
        assert!(stream.frame().await.unwrap().is_ok());
        worker.complete(lease).await;
        let events = text(stream).await;
        assert!(events.ends_with("\"timings\":{\"inference\":1.5,\"decode\":0.25}}\n\n"), "{events}");
        stack.shut_down().await;
    }
}

#[tokio::test]
async fn after_the_grace_a_stream_is_cut_and_its_job_is_cancelled() {
    let config = Config { shutdown_grace: Duration::ZERO, ..Config::default() };
    let mut stack = Stack::with(config).await;
    let mut http2 = Http2::connect(&stack).await;
    let mut worker = stack.worker();
    let claimed = async {
        let mut lease = worker.claim().await;
        worker.preview(&mut lease, 0).await;
        lease
    };
    let (stream, lease) = tokio::join!(http2.ask("POST", STREAM, BODY), claimed);
    let started = Instant::now();
    stack.shut_down().await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(stream.into_body().collect().await.is_err(), "the body ended normally");
    assert_eq!(stack.status(lease.job.id).await.status, Status::Cancelled);
}

/// Frames of a client that resets each of its streams at once.
fn flood(streams: u32) -> Vec<u8> {
    let mut bytes = [PREFACE, EMPTY_SETTINGS].concat();
    for stream in 0..streams {
        let id = (2 * stream + 1).to_be_bytes();
        // HEADERS with END_STREAM and END_HEADERS: GET / over http, for the authority x.
        let fields = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
        bytes.extend([0, 0, fields.len() as u8, 1, 5]);
        bytes.extend(id);
        bytes.extend(fields);
        // RST_STREAM, CANCEL.
        bytes.extend([0, 0, 4, 3, 0]);
        bytes.extend(id);
        bytes.extend(8_u32.to_be_bytes());
    }
    bytes
}

#[tokio::test]
async fn a_flood_of_resets_closes_the_connection() {
    let stack = Stack::start().await;
    let mut stream = TcpStream::connect(stack.address).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(&flood(10_000)).await;
    let mut answer = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    // GOAWAY with ENHANCE_YOUR_CALM.
    let calm = answer.windows(17).any(|frame| frame[3] == 7 && frame[13..17] == 11_u32.to_be_bytes());
    assert!(calm, "{answer:?}");
    assert_eq!(stack.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn headers_have_the_limit_of_http1() {
    let stack = Stack::start().await;
    let mut http2 = Http2::connect(&stack).await;
    for (bytes, is_read) in [(30_000, true), (100_000, false)] {
        http2.send.ready().await.unwrap();
        let uri = "http://x/health/live";
        let request = Request::get(uri).header("x-large", "a".repeat(bytes)).body(Full::default()).unwrap();
        let answer = timeout(SOON, http2.send.send_request(request)).await.expect("an answer");
        assert_eq!(answer.is_ok_and(|answer| answer.status() == 200), is_read, "{bytes}");
    }
}

/// Advances the server's time.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_waiting_one_is_not() {
    let stack = Stack::start().await;
    let mut idle = Http2::connect(&stack).await;
    assert_eq!(idle.ask("GET", "/health/live", "").await.status(), 200);
    let mut busy = Http2::connect(&stack).await;
    let id = stack.submit("a heart").await;
    let path = format!("/v1/jobs/{id}/events");
    let mut events = busy.ask("GET", &path, "").await;
    for _ in 0..3 {
        pass(Duration::from_secs(61)).await;
        assert!(events.frame().await.unwrap().is_ok());
    }
    timeout(SOON, idle.connection).await.expect("the connection is closed").unwrap().unwrap();
    stack.worker().make_next().await;
    assert!(text(events).await.contains("event: completed"));
    // A client that answers nothing is closed too.
    let mut silent = TcpStream::connect(stack.address).await.unwrap();
    silent.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).await.unwrap();
    assert_eq!(stack.get("/health/live").await.status, 200);
    for _ in 0..3 {
        pass(Duration::from_secs(61)).await;
        assert_eq!(stack.get("/health/live").await.status, 200);
    }
    let mut said = Vec::new();
    timeout(SOON, silent.read_to_end(&mut said)).await.expect("the connection is closed").unwrap();
}
