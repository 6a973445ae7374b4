//! Paths, queries, headers and bodies.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_test_support::fuzz::{self, Change, Damage, changes, damages, pictures::broken};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use crate::server::Server;

/// The memory limit of a small request in bytes, without decoding a picture.
const BASE: usize = 64 << 20;
const PER_BYTE: usize = 100;

const HEADERS: [&str; 10] = [
    "X-Fal-Target-Url",
    "X-Forwarded-Proto",
    "X-Fal-Request-Timeout",
    "X-Fal-Queue-Priority",
    "X-Glimpse-On-Disconnect",
    "Idempotency-Key",
    "Last-Event-ID",
    "traceparent",
    "content-type",
    "Accept",
];

/// The value of a header or of a query parameter.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let usual = prop::sample::select(&USUAL[..]).prop_map(|text| text.as_bytes().to_vec());
    let damaged = (prop::sample::select(&USUAL[..]), damages()).prop_map(|(text, damages)| {
        let mut bytes = text.as_bytes().to_vec();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        bytes
    });
    let any = vec(any::<u8>(), 0..300);
    // It must be a single line.
    let line = |bytes: Vec<u8>| bytes.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    prop_oneof![3 => usual, 2 => damaged, 1 => any].prop_map(line)
}

const USUAL: [&str; 25] = [
    "https://queue.fal.run/glimpse/demo?logs=1",
    "0",
    "1",
    "-1",
    "0.001",
    "1e-320",
    "1e308",
    "1e400",
    "NaN",
    "inf",
    "-inf",
    "604800",
    "604800.0000001",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "+1",
    "normal",
    "low",
    "cancel",
    "detach",
    "order 7",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "application/json",
    "text/event-stream",
];

/// A request without a body, or with one.
#[derive(Debug, Clone)]
struct RawRequest {
    line: usize,
    query: Option<Vec<u8>>,
    headers: Vec<(usize, Vec<u8>)>,
    body: Vec<Change>,
    damages: Vec<Damage>,
}

fn raw_request() -> impl Strategy<Value = RawRequest> {
    let sometimes = prop_oneof![4 => Just(Vec::new()), 1 => damages()];
    (0_usize..24, prop::option::of(value()), vec((0..HEADERS.len(), value()), 0..4), changes(), sometimes)
        .prop_map(|(line, query, headers, body, damages)| RawRequest { line, query, headers, body, damages })
}

impl RawRequest {
    fn bytes(&self, server: &Server, document: &Value) -> Vec<u8> {
        let (ended, lost) = (server.ended, server.lost);
        let (method, path) = match self.line {
            0 => ("GET", format!("/v1/jobs/{ended}/events")),
            1 => ("GET", format!("/v1/jobs/{lost}/events")),
            2 => ("GET", format!("/v1/jobs/{ended}")),
            3 => ("DELETE", format!("/v1/jobs/{lost}")),
            4 => ("GET", format!("/v1/jobs/{ended}/image")),
            5 => ("GET", "/v1/dead".to_owned()),
            6 => ("POST", format!("/v1/dead/{ended}/retry")),
            7 => ("GET", "/v1/workers".to_owned()),
            8 => ("GET", "/v1/jobs/%00%ff/events".to_owned()),
            18 => ("GET", format!("/queue/glimpse/demo/requests/{ended}/status")),
            19 => ("GET", format!("/queue/glimpse/demo/requests/{ended}/status/stream")),
            20 => ("GET", format!("/queue/glimpse/demo/requests/{ended}")),
            21 => ("PUT", format!("/queue/glimpse/demo/requests/{lost}/cancel")),
            22 => ("POST", "/queue/glimpse/demo".to_owned()),
            23 => ("POST", "/api/fal/proxy".to_owned()),
            9 => ("HEAD", "/health/ready".to_owned()),
            10 => ("POST", "/glimpse/demo".to_owned()),
            11..=14 => ("POST", "/glimpse/demo/stream".to_owned()),
            _ => ("POST", "/v1/jobs".to_owned()),
        };
        let query = self.query.as_deref().map(escaped).unwrap_or_default();
        let name = match self.line {
            5 => "app",
            18..=21 => "logs",
            _ => "after",
        };
        let mut request = format!("{method} {path}?{name}={query} HTTP/1.1\r\n").into_bytes();
        request.extend(b"host: x\r\nconnection: close\r\n");
        for (name, value) in &self.headers {
            request.extend([HEADERS[*name].as_bytes(), b": ", value, b"\r\n"].concat());
        }
        if method == "POST" {
            let mut body = Change::all(&self.body, document).into_bytes();
            self.damages.iter().for_each(|damage| damage.apply(&mut body));
            request.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
            request.extend(body);
        } else {
            request.extend(b"\r\n");
        }
        request
    }
}

/// Percent-encodes half of the special characters.
fn escaped(bytes: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'%' | b'&' | b'=' => {
            char::from(*byte).to_string()
        }
        other => format!("%{other:02x}"),
    };
    bytes.iter().map(escape).collect()
}

fn document() -> Value {
    json!({
        "app": "glimpse/demo", "prompt": "a fox", "negative_prompt": "", "num_inference_steps": 20, "width": 64,
        "height": 64, "guidance_scale": 5, "guidance_rescale": 0, "clip_skip": 0, "seed": 7, "num_images": 1,
        "loras": [{ "path": "x", "scale": 1 }], "scheduler": "EulerDiscrete", "preview_every": 5,
        "preview_source": "latents", "output_format": "png", "start_timeout": 30, "run_timeout": 30,
    })
}

#[test]
fn any_request_is_answered() {
    fuzz::alone(|| {
        let server = Server::start();
        let (document, cases) = (document(), raw_request());
        fuzz::check(500, &cases, |asked| {
            let request = asked.bytes(&server, &document);
            let most = BASE + PER_BYTE * request.len();
            let answer = fuzz::within(&asked, most, || server.ask(&request));
            let text = String::from_utf8_lossy(&answer.bytes);
            prop_assert!((200..500).contains(&answer.status), "{text:.600}");
            prop_assert_eq!(server.panics(), 0);
            prop_assert!(answer.bytes.len() < 300_000, "{} bytes", answer.bytes.len());
            Ok(())
        });
    });
}

#[test]
fn a_broken_picture_is_answered() {
    fuzz::alone(|| {
        let server = Server::start();
        let cases = (broken(), prop::option::of(broken()));
        fuzz::check(150, &cases, |(image, mask)| {
            let uri =
                |(kind, file): (&str, Vec<u8>)| format!("data:image/{kind};base64,{}", STANDARD.encode(file));
            let mask = mask.map(|mask| uri(mask.file()));
            let mut asked = document();
            (asked["image"], asked["mask"]) = (uri(image.file()).into(), mask.into());
            let body = asked.to_string();
            let head = "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ";
            let answer = server.ask(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes());
            let text = String::from_utf8_lossy(&answer.bytes);
            prop_assert!(matches!(answer.status, 202 | 422), "{text:.600}");
            prop_assert_eq!(server.panics(), 0);
            Ok(())
        });
    });
}

#[test]
fn any_bytes_on_a_connection_are_answered_or_end_it() {
    fuzz::alone(|| {
        let server = Server::start();
        let whole = format!(
            "GET /v1/jobs/{}/events?after=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nlast-event-id: 1\r\n\r\n",
            server.ended
        );
        fuzz::check(200, &damages(), |damages| {
            let mut request = whole.clone().into_bytes();
            damages.iter().for_each(|damage| damage.apply(&mut request));
            // The sending half is closed, so that the server does not wait for more.
            request.extend(b"\r\n\r\nx\r\n\r\n");
            let answer = server.ask(&request);
            prop_assert!(answer.status < 500, "{}", String::from_utf8_lossy(&answer.bytes));
            prop_assert_eq!(server.panics(), 0);
            Ok(())
        });
    });
}
