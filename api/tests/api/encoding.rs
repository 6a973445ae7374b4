//! Bodies that are compressed, or begin with a byte order mark.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use glimpse_api::Config;
use serde_json::json;

use crate::support::Stack;

fn packed(body: &[u8]) -> Vec<u8> {
    let mut packing = GzEncoder::new(Vec::new(), Compression::default());
    packing.write_all(body).unwrap();
    packing.finish().unwrap()
}

const GZIP: [(&str, &str); 1] = [("content-encoding", "gzip")];

/// Every route that reads a body, with a valid body.
const ROUTES: [(&str, &str, u16); 4] = [
    ("/v1/jobs", r#"{"app":"glimpse/demo","prompt":"a heart"}"#, 202),
    ("/glimpse/demo", r#"{"prompt":"a heart"}"#, 200),
    ("/glimpse/demo/stream", r#"{"prompt":"a heart"}"#, 200),
    ("/queue/glimpse/demo", r#"{"prompt":"a heart"}"#, 200),
];

#[tokio::test]
async fn a_compressed_or_marked_body_is_read_on_every_route() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    for (path, body, status) in ROUTES {
        let marked = [&b"\xEF\xBB\xBF"[..], body.as_bytes()].concat();
        for (headers, body) in
            [(&GZIP[..], packed(body.as_bytes())), (&[], marked.clone()), (&GZIP, packed(&marked))]
        {
            let answer = stack.client().await.ask("POST", path, headers, &body).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_compressed_request_is_the_same_request() {
    let stack = Stack::start().await;
    let body = br#"{"app":"glimpse/demo","prompt":"a heart"}"#;
    let key = ("idempotency-key", "one");
    let first = stack.client().await.ask("POST", "/v1/jobs", &[key], body).await;
    let again = stack.client().await.ask("POST", "/v1/jobs", &[key, GZIP[0]], &packed(body)).await;
    assert_eq!((first.status, again.status), (202, 200));
    assert_eq!(first.json()["id"], again.json()["id"]);
}

#[tokio::test]
async fn a_body_in_another_encoding_is_refused_by_its_header() {
    let stack = Stack::start().await;
    for (path, body, _) in ROUTES {
        for encoding in ["br", "deflate", "gzip, gzip", "zstd"] {
            let headers = [("content-encoding", encoding)];
            let mut client = stack.client().await;
            let answer = client.ask("POST", path, &headers, body.as_bytes()).await;
            assert_eq!(answer.status, 415, "{path}");
            let detail = "The header Content-Encoding should be gzip, or absent";
            assert_eq!(answer.json(), json!({ "detail": detail }));
            // The connection can be used again.
            assert_eq!(client.ask("GET", "/health/live", &[], b"").await.status, 200);
        }
        let answer = stack.client().await.ask("POST", path, &GZIP, body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains("Content-Encoding"), "{}", answer.text());
        let cut = packed(body.as_bytes());
        let answer = stack.client().await.ask("POST", path, &GZIP, &cut[..cut.len() - 4]).await;
        assert_eq!(answer.status, 400, "{path}");
    }
}

#[tokio::test]
async fn the_limit_counts_the_decompressed_bytes() {
    let stack = Stack::with(Config { body_limit: 1 << 20, ..Config::default() }).await;
    for (spaces, status) in [((1 << 20) - 2, 422), ((1 << 20) - 1, 413), (200 << 20, 413)] {
        let body = packed(&[vec![b' '; spaces], b"{}".to_vec()].concat());
        assert!(body.len() < 1 << 20);
        let answer = stack.client().await.ask("POST", "/v1/jobs", &GZIP, &body).await;
        assert_eq!(answer.status, status, "{spaces}: {}", answer.text());
    }
}
