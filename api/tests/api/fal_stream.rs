//! `POST /{owner}/{app}/stream`, byte by byte.

use glimpse_api::{Config, OnDisconnect};
use glimpse_shared::{
    event::FailureCode,
    job::{Class, Status},
};

use crate::support::{Stack, picture};

const PATH: &str = "/glimpse/demo/stream";

fn shown(name: &str) -> String {
    let url = picture(name).url;
    format!(r#"{{"url":"{url}","content_type":"image/jpeg","width":128,"height":128}}"#)
}

/// The last event of a stream with these pictures.
fn last(prompt: &str, names: &[&str]) -> String {
    let images: Vec<_> = names.iter().map(|name| shown(name)).collect();
    let timings = r#"{"inference":1.5,"decode":0.25}"#;
    format!(
        r#"data: {{"images":[{}],"image":{},"seed":1,"prompt":"{prompt}","timings":{timings}}}"#,
        images.join(","),
        images[0]
    )
}

#[tokio::test]
async fn previews_come_as_data_alone_and_the_last_event_is_the_result() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], br#"{"prompt":"a heart","seed":1}"#).await;
    let mut lease = worker.claim().await;
    worker.preview(&mut lease, 0).await;
    let mut stream = client.opened().await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(stream.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    assert_eq!(stream.header("access-control-allow-origin"), Some("*"));
    assert_eq!(stream.header("access-control-expose-headers"), Some("*"));
    assert_eq!(stream.header("x-fal-request-id"), Some(&*lease.job.id.to_string()));
    for step in [0, 5, 10, 15] {
        if step > 0 {
            worker.preview(&mut lease, step).await;
        }
        let expected = format!(r#"data: {{"image":{}}}"#, shown(&format!("step {step}")));
        assert_eq!(stream.block().await.unwrap(), expected);
    }
    worker.complete(lease).await;
    assert_eq!(stream.rest().await, [last("a heart", &["final 0"])]);
}

#[tokio::test]
async fn several_pictures_are_all_in_the_last_event() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let body = r#"{"prompt":"a heart","seed":1,"num_images":2,"preview_every":0,"unknown":true}"#;
    let mut stream = stack.client().await.stream("POST", PATH, &[], body).await;
    assert_eq!(stream.rest().await, [last("a heart", &["final 0", "final 1"])]);
    // It is what a client gets that waits for the pictures alone.
    let run = stack.post("/glimpse/demo", body).await;
    assert_eq!(format!("data: {}", run.text()), last("a heart", &["final 0", "final 1"]));
}

#[tokio::test]
async fn a_disconnect_cancels_the_job() {
    let stack = Stack::start().await;
    let (stream, _worker, lease) = stack.stream_with_preview().await;
    drop(stream);
    stack.until(lease.job.id, Status::Cancelled).await;
    let newest = stack.newest(lease.job.id).await;
    assert_eq!(newest.json(), r#"{"type":"cancelled","by":"disconnect"}"#);
}

#[tokio::test]
async fn a_disconnect_before_the_first_event_cancels_the_job() {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], br#"{"prompt":"a heart"}"#).await;
    let lease = stack.worker().claim().await;
    drop(client);
    stack.until(lease.job.id, Status::Cancelled).await;
}

#[tokio::test]
async fn with_detach_a_job_continues_after_a_disconnect() {
    let detach = Config { on_disconnect: OnDisconnect::Detach, ..Config::default() };
    let by_request: &[(&str, &str)] = &[("x-glimpse-on-disconnect", "detach")];
    for (config, headers) in [(Config::default(), by_request), (detach, &[])] {
        let mut stack = Stack::with(config).await;
        let mut worker = stack.worker();
        let mut client = stack.client().await;
        client.request("POST", PATH, headers, br#"{"prompt":"a heart"}"#).await;
        let lease = worker.claim().await;
        drop(client);
        // After the shutdown the process has handled the disconnect.
        stack.shut_down().await;
        assert_eq!(stack.status(lease.job.id).await.status, Status::Running);
    }
}

#[tokio::test]
async fn an_error_before_the_first_byte_has_its_own_status() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    for (code, status, error_type, detail) in [
        (FailureCode::BadRequest, 400, "bad_request", "too strange"),
        (FailureCode::StartTimeout, 504, "request_timeout", "Request timed out"),
        (FailureCode::Internal, 500, "internal_error", "too strange"),
        (FailureCode::RunTimeout, 500, "internal_error", "too strange"),
    ] {
        let mut client = stack.client().await;
        client.request("POST", PATH, &[], br#"{"prompt":"a heart"}"#).await;
        let lease = worker.claim().await;
        let id = lease.job.id.to_string();
        worker.fail(lease, code, "too strange").await;
        let answer = client.answer("POST").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("x-fal-request-id"), Some(&*id));
        assert_eq!(answer.header("x-fal-error-type"), Some(error_type));
        let timeout = (status == 504).then_some("user");
        assert_eq!(answer.header("x-fal-request-timeout-type"), timeout);
        let expected = serde_json::json!({ "detail": detail, "error_type": error_type });
        assert_eq!(answer.json(), expected);
    }
}

#[tokio::test]
async fn an_error_after_the_first_byte_is_an_event_and_a_cut() {
    let stack = Stack::start().await;
    let (mut stream, worker, lease) = stack.stream_with_preview().await;
    worker.fail(lease, FailureCode::Internal, "it broke: \u{e9}").await;
    let error = stream.block().await.unwrap();
    assert_eq!(error, r#"data: {"error":"internal_error","detail":"it broke: \u00e9"}"#);
    assert!(stream.next().await.is_err(), "the body ended normally");
}

#[tokio::test]
async fn a_cancel_by_id_ends_the_stream_early() {
    let stack = Stack::start().await;
    let (mut stream, _worker, lease) = stack.stream_with_preview().await;
    stack.ask("DELETE", &format!("/v1/jobs/{}", lease.job.id), "").await;
    let error = stream.block().await.unwrap();
    assert_eq!(error, r#"data: {"error":"client_cancelled","detail":"Request was cancelled"}"#);
    assert!(stream.next().await.is_err());
}

#[tokio::test]
async fn a_lost_worker_does_not_end_the_stream() {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], br#"{"prompt":"a heart","seed":1}"#).await;
    let (mut first, mut second) = (stack.worker(), stack.worker());
    let mut lease = first.claim().await;
    first.preview(&mut lease, 0).await;
    let mut stream = client.opened().await;
    stream.block().await.unwrap();
    stack.clock.advance(stack.lease());
    stack.store.reap(stack.store.now().await.unwrap()).await.unwrap();
    second.make_next().await;
    let blocks = stream.rest().await;
    assert_eq!(blocks.last().unwrap(), &last("a heart", &["final 0"]));
}

#[tokio::test]
async fn the_headers_of_fal_reach_the_job() {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers =
        [("x-fal-queue-priority", "low"), ("X-Fal-Request-Timeout", "12.5"), ("traceparent", trace)];
    client.request("POST", PATH, &headers, br#"{"prompt":"a heart"}"#).await;
    let job = stack.worker().claim().await.job;
    assert_eq!(job.class, Class::Low);
    assert_eq!(job.start_timeout.as_secs_f64(), 12.5);
    assert_eq!(job.traceparent.as_deref(), Some(trace));
    assert_eq!(job.tenant, "anonymous");
    assert_eq!((job.spec.width(), job.spec.height()), (128, 128));
}

#[tokio::test]
async fn a_wrong_header_is_named() {
    let stack = Stack::start().await;
    for (name, value) in [
        ("x-fal-request-timeout", "soon"),
        ("x-fal-request-timeout", "-1"),
        ("x-fal-request-timeout", "0"),
        ("x-fal-request-timeout", "NaN"),
        ("x-fal-request-timeout", "inf"),
        ("x-fal-request-timeout", "1e300"),
        ("x-fal-queue-priority", "high"),
        ("x-glimpse-on-disconnect", "maybe"),
    ] {
        for path in [PATH, "/glimpse/demo"] {
            let mut client = stack.client().await;
            let answer = client.ask("POST", path, &[(name, value)], br#"{"prompt":"a heart"}"#).await;
            assert_eq!(answer.status, 422, "{name}: {value}");
            let error = &answer.json()["detail"][0];
            assert_eq!(error["loc"], serde_json::json!(["header", name]));
            assert_eq!(error["input"], value);
        }
    }
}
