//! fal's realtime connection.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use glimpse_api::Config;
use glimpse_shared::job::Status;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, protocol::frame::coding::CloseCode},
};

use crate::support::{SOON, Stack};

const PATH: &str = "/glimpse/demo/realtime";

trait Bytes: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Bytes for T {}

/// A client that has connected.
struct Realtime(WebSocketStream<Box<dyn Bytes>>);

/// An answer in msgpack.
#[derive(Debug, Deserialize)]
struct Pictures {
    images: Vec<Picture>,
    seed: u64,
    prompt: String,
    timings: Value,
    request_id: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Picture {
    content: Content,
    content_type: String,
    width: u32,
    height: u32,
}

/// Bytes that msgpack has as `bin`, and as nothing else.
#[derive(Debug, PartialEq)]
struct Content(Vec<u8>);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Binary;

        impl serde::de::Visitor<'_> for Binary {
            type Value = Content;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Content, E> {
                Ok(Content(bytes.to_vec()))
            }
        }

        deserializer.deserialize_any(Binary)
    }
}

impl Realtime {
    async fn connect(stack: &Stack, query: &str) -> Self {
        Self::try_connect(stack, &format!("{PATH}{query}")).await.unwrap()
    }

    async fn try_connect(stack: &Stack, path: &str) -> Result<Self, Error> {
        let tcp = TcpStream::connect(stack.address).await.unwrap();
        let stream: Box<dyn Bytes> = match &stack.secure {
            Some(secure) => {
                let name = "127.0.0.1".try_into().unwrap();
                Box::new(TlsConnector::from(secure.client(&[])).connect(name, tcp).await.unwrap())
            }
            None => Box::new(tcp),
        };
        let (socket, response) = client_async(format!("ws://{}{path}", stack.address), stream).await?;
        assert!(response.headers().contains_key("x-fal-request-id"));
        Ok(Self(socket))
    }

    async fn send(&mut self, input: impl Serialize) {
        let message = rmp_serde::to_vec_named(&input).unwrap();
        self.0.send(Message::binary(message)).await.unwrap();
    }

    /// The next message that is not a ping.
    async fn next(&mut self) -> Message {
        loop {
            let message = timeout(SOON, self.0.next()).await.expect("a message");
            match message.expect("the connection is open").unwrap() {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    #[cfg(test)]
    async fn pictures(&mut self) -> Pictures {
        match self.next().await {
            Message::Binary(bytes) => rmp_serde::from_slice(&bytes).unwrap(),
            other => panic!("no pictures: {other:?}"),
        }
    }

    #[cfg(test)]
    async fn json(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no JSON: {other:?}"),
        }
    }

    #[cfg(test)]
    async fn closed(&mut self) -> CloseCode {
        match self.next().await {
            Message::Close(Some(frame)) => frame.code,
            other => panic!("no close: {other:?}"),
        }
    }
}

#[tokio::test]
async fn each_input_is_answered_with_its_pictures_and_its_time() {
    for stack in [Stack::start().await, Stack::secure().await] {
        let _worker = stack.diligent_worker();
        let mut client = Realtime::connect(&stack, "?fal_jwt_token=x&max_buffering=2").await;
        for id in [json!("first"), json!(2), Value::Null] {
            client.send(json!({ "prompt": "a heart", "seed": 7, "num_images": 2, "request_id": id })).await;
            let Pictures { images, seed, prompt, timings, request_id } = client.pictures().await;
            assert_eq!((seed, &*prompt, timings["inference"].as_f64()), (7, "a heart", Some(1.5)));
            assert_eq!(request_id, Some(id).filter(|id| !id.is_null()));
            for (number, image) in images.iter().enumerate() {
                assert_eq!(image.content, Content(format!("final {number}").into_bytes()));
                assert_eq!((&*image.content_type, image.width, image.height), ("image/jpeg", 128, 128));
            }
            assert_eq!(images.len(), 2);
            let timing = client.json().await;
            assert_eq!((&timing["type"], &timing["action"]), (&json!("x-fal-message"), &json!("timings")));
            assert!(timing["timing"].as_f64().unwrap() >= 0.0);
        }
    }
}

#[tokio::test]
async fn an_input_in_json_is_answered_in_json() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let mut client = Realtime::connect(&stack, "").await;
    let input = json!({ "prompt": "a heart", "seed": 7, "request_id": "x" });
    client.0.send(Message::text(input.to_string())).await.unwrap();
    let answer = client.json().await;
    assert_eq!((&answer["seed"], &answer["request_id"]), (&json!(7), &json!("x")));
    let url = answer["images"][0]["url"].as_str().unwrap();
    assert!(url.starts_with("data:image/jpeg;base64,"), "{url}");
    assert_eq!(client.json().await["action"], "timings");
}

#[tokio::test]
async fn an_error_has_fals_form_and_the_connection_stays_open() {
    let stack = Stack::start().await;
    let mut client = Realtime::connect(&stack, "").await;
    client.send(json!({ "num_inference_steps": 51, "request_id": "x" })).await;
    let error = client.json().await;
    assert_eq!((&error["type"], &error["error"]), (&json!("x-fal-error"), &json!("VALIDATION_ERROR")));
    assert_eq!(error["request_id"], "x");
    let fields: Vec<_> = error["detail"].as_array().unwrap().iter().map(|field| &field["loc"][1]).collect();
    assert!(fields.contains(&&json!("prompt")) && fields.contains(&&json!("num_inference_steps")));
    assert!(error["reason"].as_str().unwrap().contains("prompt"));

    for broken in [Message::binary(&b"\xc1"[..]), Message::text("{"), Message::text("[]")] {
        client.0.send(broken).await.unwrap();
        assert_eq!(client.json().await["error"], "VALIDATION_ERROR");
    }
    client.send(json!({ "prompt": "a heart" })).await;
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    worker.fail(lease, glimpse_shared::event::FailureCode::BadRequest, "it cannot").await;
    let error = client.json().await;
    assert_eq!((&error["error"], &error["reason"]), (&json!("BAD_REQUEST"), &json!("it cannot")));
    client.send(json!({ "prompt": "a heart" })).await;
    worker.make_next().await;
    client.pictures().await;
}

#[tokio::test]
async fn what_json_does_not_have_is_an_error_that_names_it() {
    let stack = Stack::start().await;
    let mut client = Realtime::connect(&stack, "").await;
    let bytes = |name: &str, kind: u8| {
        let prompt = &b"\xa6prompt\xa1x\xaarequest_id\xa1r"[..];
        let length = [0xa0 | name.len() as u8];
        let value = if kind == 0xc4 { &b"\xc4\x03\xff\xd8\xff"[..] } else { &b"\xa3\xff\xd8\xff"[..] };
        [&b"\x83"[..], prompt, &length, name.as_bytes(), value].concat()
    };
    for kind in [0xc4, 0xa3] {
        for name in ["negative_prompt", "seed", "loras"] {
            client.0.send(Message::binary(bytes(name, kind))).await.unwrap();
            let error = client.json().await;
            assert_eq!(error["detail"][0]["loc"], json!(["body", name]), "{error}");
            assert_eq!((&error["error"], &error["request_id"]), (&json!("VALIDATION_ERROR"), &json!("r")));
        }
        client.0.send(Message::binary(bytes("request_id", kind))).await.unwrap();
        assert_eq!(client.json().await["detail"][0]["loc"], json!(["body", "request_id"]));
        // A picture may be bytes: these are no whole JPEG.
        client.0.send(Message::binary(bytes("image", kind))).await.unwrap();
        assert_eq!(client.json().await["detail"][0]["type"], "image_load_error");
    }
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let input = std::collections::BTreeMap::from([("guidance_scale", number)]);
        client.send(input).await;
        let error = client.json().await;
        assert_eq!(error["detail"][0]["loc"], json!(["body", "guidance_scale"]), "{error}");
    }
}

#[tokio::test]
async fn an_error_shows_the_input_as_it_was_sent() {
    let stack = Stack::start().await;
    let mut client = Realtime::connect(&stack, "").await;
    for input in [json!({ "request_id": "x" }), json!({ "seed": 1 })] {
        client.send(&input).await;
        assert_eq!(client.json().await["detail"][0]["input"], input);
    }
}

#[tokio::test]
async fn inputs_wait_and_the_oldest_are_dropped_for_new_ones() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let mut client = Realtime::connect(&stack, "?max_buffering=2").await;
    client.send(json!({ "prompt": "0" })).await;
    let lease = worker.claim().await;
    for number in 1..=5 {
        client.send(json!({ "prompt": number.to_string() })).await;
    }
    // The answer to a ping shows that the server has read the inputs.
    client.0.send(Message::Ping("x".into())).await.unwrap();
    assert!(matches!(client.next().await, Message::Pong(_)));
    worker.complete(lease).await;
    let mut prompts = vec![client.pictures().await.prompt];
    for _ in 0..2 {
        client.json().await;
        worker.make_next().await;
        prompts.push(client.pictures().await.prompt);
    }
    assert_eq!(prompts, ["0", "4", "5"]);
}

#[tokio::test]
async fn the_end_of_the_connection_cancels_its_job() {
    for stack in [Stack::start().await, Stack::secure().await] {
        for how in ["close", "drop"] {
            let mut client = Realtime::connect(&stack, "").await;
            client.send(json!({ "prompt": "a heart" })).await;
            let lease = stack.worker().claim().await;
            client.send(json!({ "prompt": "another" })).await;
            match how {
                "close" => client.0.close(None).await.unwrap(),
                _ => drop(client),
            }
            let left = Instant::now();
            stack.until(lease.job.id, Status::Cancelled).await;
            assert!(left.elapsed() < Duration::from_secs(3), "{how}: {:?}", left.elapsed());
            let newest = stack.newest(lease.job.id).await;
            assert_eq!(newest.json(), r#"{"type":"cancelled","by":"disconnect"}"#);
        }
    }
}

#[tokio::test]
async fn a_shutdown_ends_the_job_in_hand_and_says_that_the_server_restarts() {
    let config = Config { shutdown_grace: SOON, ..Config::default() };
    let mut stack = Stack::with(config).await;
    let mut idle = Realtime::connect(&stack, "").await;
    let mut client = Realtime::connect(&stack, "").await;
    client.send(json!({ "prompt": "a heart" })).await;
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    stack.ask_to_end();
    assert_eq!(idle.closed().await, CloseCode::Restart);
    worker.complete(lease).await;
    assert_eq!(client.pictures().await.prompt, "a heart");
    client.json().await;
    assert_eq!(client.closed().await, CloseCode::Restart);
    stack.shut_down().await;
}

#[tokio::test]
async fn after_the_grace_a_job_is_cancelled_and_the_client_is_told() {
    let config = Config { shutdown_grace: Duration::ZERO, ..Config::default() };
    let mut stack = Stack::with(config).await;
    let mut client = Realtime::connect(&stack, "").await;
    client.send(json!({ "prompt": "a heart" })).await;
    let lease = stack.worker().claim().await;
    let started = Instant::now();
    stack.ask_to_end();
    assert_eq!(client.closed().await, CloseCode::Restart);
    stack.shut_down().await;
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!(stack.status(lease.job.id).await.status, Status::Cancelled);
}

#[tokio::test]
async fn a_connection_counts_as_a_stream_until_it_ends() {
    let stack = Stack::with(Config { max_streams: 1, ..Config::default() }).await;
    let client = Realtime::connect(&stack, "").await;
    match Realtime::try_connect(&stack, PATH).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 429),
        _ => panic!("a second connection is not refused"),
    }
    drop(client);
    let begun = Instant::now();
    while Realtime::try_connect(&stack, PATH).await.is_err() {
        assert!(begun.elapsed() < SOON, "the ended connection still counts");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handshake_is_checked_before_the_upgrade() {
    let stack = Stack::start().await;
    for (path, status) in [
        ("/no/body/realtime", 404),
        ("/glimpse/demo/realtime?max_buffering=0", 422),
        ("/glimpse/demo/realtime?max_buffering=61", 422),
        ("/glimpse/demo/realtime?max_buffering=x", 422),
    ] {
        match Realtime::try_connect(&stack, path).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), status, "{path}"),
            _ => panic!("{path} is not refused"),
        }
    }
    let answer = stack.get(PATH).await;
    assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")));
    assert!(answer.text().contains("WebSocket"), "{}", answer.text());
    // Endpoints of fal's that have defaults of their own.
    let mut client = Realtime::try_connect(&stack, "/glimpse/demo/image-to-image/realtime").await.unwrap();
    client.send(json!({ "prompt": "a heart" })).await;
    assert_eq!(client.json().await["detail"][0]["loc"], json!(["body", "image_url"]));
}

#[tokio::test]
async fn a_message_has_a_limit() {
    let stack = Stack::with(Config { body_limit: 100_000, ..Config::default() }).await;
    let _worker = stack.diligent_worker();
    let mut client = Realtime::connect(&stack, "").await;
    client.send(json!({ "prompt": "a heart", "unknown": "a".repeat(90_000) })).await;
    client.pictures().await;
    client.json().await;
    client.send(json!({ "prompt": "a heart", "unknown": "a".repeat(110_000) })).await;
    assert_eq!(client.closed().await, CloseCode::Size);
}

/// Advances the server's time.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_connection_without_inputs_is_closed_and_one_with_a_job_is_not() {
    let stack = Stack::start().await;
    let mut busy = Realtime::connect(&stack, "").await;
    busy.send(json!({ "prompt": "a heart" })).await;
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    let mut idle = Realtime::connect(&stack, "").await;
    for _ in 0..7 {
        pass(Duration::from_secs(40)).await;
        for client in [&mut idle, &mut busy] {
            // Reading answers the server's pings; the answer to one is sent with the next read.
            while let Ok(Some(_)) = timeout(Duration::from_millis(50), client.0.next()).await {}
        }
    }
    pass(Duration::from_secs(30)).await;
    worker.complete(lease).await;
    busy.pictures().await;
    let ended = idle.0.filter_map(async |message| message.ok().filter(|message| !message.is_ping()));
    let mut ended = std::pin::pin!(ended);
    let rest: Vec<_> = timeout(SOON, ended.by_ref().collect()).await.unwrap();
    let said: Value = serde_json::from_str(rest[0].to_text().unwrap()).unwrap();
    assert_eq!((&said["type"], &said["error"]), (&json!("x-fal-error"), &json!("TIMEOUT")));
    assert!(matches!(&rest[1], Message::Close(Some(frame)) if frame.code == CloseCode::Normal));
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_gone() {
    let stack = Stack::with(Config { max_streams: 1, ..Config::default() }).await;
    let mut client = Realtime::connect(&stack, "").await;
    client.send(json!({ "prompt": "a heart" })).await;
    let lease = stack.worker().claim().await;
    for _ in 0..8 {
        pass(Duration::from_secs(16)).await;
        tokio::task::yield_now().await;
    }
    stack.until(lease.job.id, Status::Cancelled).await;
}

#[tokio::test]
async fn a_client_that_sends_too_much_reads_why_the_connection_ends() {
    for stack in [Stack::start().await, Stack::secure().await] {
        for size in [(4 << 20) + 1, 5 << 20, 16 << 20, 40 << 20] {
            for turn in 0..3 {
                let mut client = Realtime::connect(&stack, "").await;
                // It reads only after it has sent everything.
                let sent = client.0.send(Message::binary(vec![0; size])).await;
                assert!(sent.is_ok(), "{size} bytes, turn {turn}: {sent:?}");
                assert_eq!(client.closed().await, CloseCode::Size, "{size} bytes, turn {turn}");
            }
        }
    }
}
