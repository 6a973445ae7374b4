//! fal's queue: `POST /queue/{owner}/{app}` and `/queue/{owner}/{app}/requests/{id}`.

use std::time::Duration;

use glimpse_api::{Config, PublicUrl};
use glimpse_shared::{
    event::FailureCode,
    id::JobId,
    job::{Class, Status},
};
use serde_json::{Value, json};

use crate::support::{Answer, Stack, picture};

const QUEUE: &str = "/queue/glimpse/demo";
const BODY: &str = r#"{"prompt":"a \u00e9 heart","seed":1}"#;

async fn submit(stack: &Stack) -> JobId {
    let answer = stack.post(QUEUE, BODY).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["request_id"].as_str().unwrap().parse().unwrap()
}

fn request(id: JobId) -> String {
    format!("{QUEUE}/requests/{id}")
}

/// These members of an answer, with the addresses of the request.
fn with_urls(id: JobId, members: Value) -> Value {
    let url = format!("http://localhost{}", request(id));
    let mut all = json!({
        "request_id": id, "response_url": url, "status_url": format!("{url}/status"), "cancel_url": format!("{url}/cancel"),
    });
    all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    all
}

async fn status(stack: &Stack, id: JobId, query: &str) -> Answer {
    let answer = stack.get(&format!("{}/status{query}", request(id))).await;
    assert_eq!(answer.header("x-fal-request-id"), Some(&*id.to_string()));
    answer
}

/// The messages of a status' log lines.
fn messages(status: &Value) -> Vec<&str> {
    let lines = status["logs"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["source"] == "USER" && line["timestamp"].is_string()));
    lines.iter().map(|line| line["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_submit_is_answered_at_once_with_absolute_addresses() {
    let stack = Stack::start().await;
    for position in 0..3 {
        let answer = stack.post(QUEUE, BODY).await;
        let body = answer.json();
        let id: JobId = body["request_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(answer.header("x-fal-request-id"), Some(&*id.to_string()));
        let told = json!({ "status": "IN_QUEUE", "gateway_request_id": id, "queue_position": position });
        assert_eq!(body, with_urls(id, told));
    }
}

#[tokio::test]
async fn a_request_is_queued_then_in_progress_then_completed() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let (first, id) = (submit(&stack).await, submit(&stack).await);
    let queued = status(&stack, id, "?logs=1").await;
    assert_eq!(queued.status, 202);
    let told = json!({ "status": "IN_QUEUE", "queue_position": 1 });
    assert_eq!(queued.json(), with_urls(id, told));
    let lease = worker.claim().await;
    assert_eq!(lease.job.id, first);
    worker.complete(lease).await;

    let mut lease = worker.claim().await;
    worker.preview(&mut lease, 5).await;
    for (query, has_logs) in
        [("", false), ("?logs=0", false), ("?logs=false", false), ("?logs=true", true), ("?logs=1", true)]
    {
        let running = status(&stack, id, query).await;
        assert_eq!(running.status, 202);
        let running = running.json();
        assert_eq!((&running["status"], running.get("queue_position")), (&json!("IN_PROGRESS"), None));
        assert_eq!(running.get("logs").is_some_and(Value::is_array), has_logs, "{query}: {running}");
        assert_eq!(running.get("logs").is_some_and(Value::is_null), !has_logs, "{query}: {running}");
    }
    let running = status(&stack, id, "?logs=1").await.json();
    assert_eq!(running["logs"][0]["timestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(running["logs"][0]["level"], "INFO");
    let started = format!("Started on worker {}", lease.worker.as_str());
    assert_eq!(messages(&running), ["Queued", &started, "Step 6 of 20"]);

    stack.clock.advance(Duration::from_millis(2500));
    worker.complete(lease).await;
    let completed = status(&stack, id, "?logs=true").await;
    assert_eq!(completed.status, 200);
    let mut completed = completed.json();
    assert_eq!(messages(&completed), ["Queued", &started, "Completed"]);
    completed["logs"] = Value::Null;
    let told = json!({ "status": "COMPLETED", "logs": null, "metrics": { "inference_time": 2.5 } });
    assert_eq!(completed, with_urls(id, told));
}

#[tokio::test]
async fn the_result_is_what_run_would_answer_and_can_be_read_again() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = submit(&stack).await;
    let early = stack.get(&request(id)).await;
    assert_eq!((early.status, early.json()), (400, json!({ "detail": "Request is still in progress" })));
    worker.make_next().await;
    let result = stack.get(&request(id)).await;
    assert_eq!(result.status, 200);
    assert_eq!(result.header("x-fal-request-id"), Some(&*id.to_string()));
    let expected = json!({
        "images": [picture("final 0")],
        "image": picture("final 0"),
        "seed": 1,
        "prompt": "a é heart",
        "timings": { "inference": 1.5, "decode": 0.25 },
    });
    assert_eq!(result.json(), expected);
    assert_eq!(stack.get(&format!("{}/", request(id))).await.json(), expected);
}

#[tokio::test]
async fn a_failed_request_is_completed_with_an_error() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    for (code, status_code, error_type, detail) in [
        (FailureCode::BadRequest, 400, "bad_request", "why"),
        (FailureCode::StartTimeout, 504, "request_timeout", "Request timed out"),
        (FailureCode::AttemptsExhausted, 500, "internal_error", "why"),
        (FailureCode::RunTimeout, 500, "internal_error", "why"),
    ] {
        let id = submit(&stack).await;
        let lease = worker.claim().await;
        worker.fail(lease, code, "why").await;
        let completed = status(&stack, id, "?logs=1").await;
        assert_eq!(completed.status, 200);
        let completed = completed.json();
        let error = format!("Invalid status code: {status_code}");
        assert_eq!(
            (&completed["status"], &completed["error"], &completed["error_type"]),
            (&json!("COMPLETED"), &json!(error), &json!(error_type))
        );
        assert_eq!(messages(&completed).last(), Some(&"why"));
        let result = stack.get(&request(id)).await;
        assert_eq!(result.status, status_code);
        assert_eq!(result.json(), json!({ "detail": detail, "error_type": error_type }));
        assert_eq!(result.header("x-fal-error-type"), Some(error_type));
        assert_eq!(result.header("x-fal-request-timeout-type"), (status_code == 504).then_some("user"));
    }
}

#[tokio::test]
async fn a_cancel_ends_a_queued_and_a_running_request() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let (running, queued) = (submit(&stack).await, submit(&stack).await);
    let lease = worker.claim().await;
    assert_eq!(lease.job.id, running);
    for (id, code, word) in [(queued, 200, "OK"), (running, 202, "CANCELLATION_REQUESTED")] {
        let cancel = format!("{}/cancel", request(id));
        for (code, word) in [(code, word), (202, "CANCELLATION_REQUESTED")] {
            let answer = stack.ask("PUT", &cancel, "").await;
            assert_eq!((answer.status, answer.json()), (code, json!({ "status": word })));
            assert_eq!(answer.header("x-fal-request-id"), Some(&*id.to_string()));
        }
        let completed = status(&stack, id, "").await.json();
        assert_eq!(
            (&completed["status"], &completed["error"], &completed["error_type"]),
            (&json!("COMPLETED"), &json!("Invalid status code: 499"), &json!("client_cancelled"))
        );
        let result = stack.get(&request(id)).await;
        assert_eq!((result.status, &*result.reason), (499, "Client Closed Request"));
        let expected = json!({ "detail": "Request was cancelled", "error_type": "client_cancelled" });
        assert_eq!(result.json(), expected);
    }
    let id = submit(&stack).await;
    worker.make_next().await;
    let answer = stack.ask("PUT", &format!("{}/cancel", request(id)), "").await;
    assert_eq!((answer.status, answer.json()), (400, json!({ "status": "ALREADY_COMPLETED" })));
}

#[tokio::test]
async fn an_unknown_request_is_404() {
    let stack = Stack::start().await;
    let id = submit(&stack).await;
    let unknown = "018f2f6e-7b7e-7c4e-9a4e-3f1e2d3c4b0a";
    let others = [
        format!("{QUEUE}/requests/{unknown}"),
        format!("{QUEUE}/requests/x"),
        format!("{QUEUE}/requests/%ff"),
        // A request of another app.
        format!("/queue/glimpse/other/requests/{id}"),
    ];
    for other in others {
        for rest in ["", "/status", "/status/stream?logs=1"] {
            let answer = stack.get(&format!("{other}{rest}")).await;
            assert_eq!(
                (answer.status, answer.json()),
                (404, json!({ "detail": "Request not found" })),
                "{other}{rest}"
            );
            assert!(answer.header("x-fal-request-id").is_some());
        }
        let answer = stack.ask("PUT", &format!("{other}/cancel"), "").await;
        assert_eq!((answer.status, answer.json()), (404, json!({ "status": "NOT_FOUND" })), "{other}");
    }
    assert_eq!(stack.status(id).await.status, Status::Queued);
    for (method, path) in
        [("GET", QUEUE.to_owned()), ("POST", request(id)), ("GET", format!("{}/cancel", request(id)))]
    {
        assert_eq!(stack.ask(method, &path, "").await.status, 405, "{method} {path}");
    }
}

#[tokio::test]
async fn the_headers_of_fal_reach_the_job_and_a_disconnect_does_not_cancel_it() {
    let stack = Stack::start().await;
    let headers = [("x-fal-queue-priority", "low"), ("x-fal-request-timeout", "12.5")];
    let answer = stack.client().await.ask("POST", QUEUE, &headers, BODY.as_bytes()).await;
    assert_eq!(answer.status, 200);
    let normal = submit(&stack).await;
    let mut worker = stack.worker();
    let first = worker.claim().await;
    assert_eq!((first.job.id, first.job.class), (normal, Class::Normal));
    let low = worker.claim().await.job;
    assert_eq!((low.class, low.start_timeout.as_secs_f64()), (Class::Low, 12.5));
}

#[tokio::test]
async fn a_request_that_no_worker_starts_in_time_is_completed_with_504() {
    let stack = Stack::start().await;
    let headers = [("x-fal-request-timeout", "2")];
    let answer = stack.client().await.ask("POST", QUEUE, &headers, BODY.as_bytes()).await;
    let id: JobId = answer.json()["request_id"].as_str().unwrap().parse().unwrap();
    let seen = stack.store.now().await.unwrap();
    stack.clock.advance(Duration::from_secs(3));
    stack.store.reap(seen).await.unwrap();
    let completed = status(&stack, id, "").await.json();
    assert_eq!(completed["error_type"], "request_timeout");
    assert_eq!(completed["metrics"], json!({}));
    let result = stack.get(&request(id)).await;
    assert_eq!((result.status, result.header("x-fal-request-timeout-type")), (504, Some("user")));
}

#[tokio::test]
async fn a_request_that_lost_its_worker_stays_in_progress() {
    let stack = Stack::start().await;
    let id = submit(&stack).await;
    let path = format!("{}/status/stream?logs=1", request(id));
    let mut stream = stack.client().await.stream("GET", &path, &[], "").await;
    stream.block().await.unwrap();
    let _lease = stack.worker().claim().await;
    stream.block().await.unwrap();
    stack.clock.advance(stack.lease());
    stack.store.reap(stack.store.now().await.unwrap()).await.unwrap();
    assert_eq!(stack.status(id).await.status, Status::Queued);
    assert_eq!(status(&stack, id, "").await.json()["status"], "IN_PROGRESS");
    let event = data(&stream.block().await.unwrap());
    assert_eq!(event["status"], "IN_PROGRESS");
    assert_eq!(messages(&event), ["Queued again: its worker was lost or was shut down"]);
    let again = stack.worker().claim().await;
    let event = data(&stream.block().await.unwrap());
    assert_eq!(messages(&event), [format!("Started again on worker {}, attempt 2", again.worker.as_str())]);
    let lines = status(&stack, id, "?logs=1").await.json();
    assert_eq!(messages(&lines)[..2], ["Queued", "Started"]);
    assert_eq!(messages(&lines).len(), 3);
}

/// The JSON of an event.
fn data(block: &str) -> Value {
    serde_json::from_str(block.strip_prefix("data: ").expect("only data")).unwrap()
}

#[tokio::test]
async fn the_status_stream_tells_each_change_and_each_line_once() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let first = submit(&stack).await;
    let id = submit(&stack).await;
    let path = format!("{}/status/stream", request(id));
    let mut with_logs = stack.client().await.stream("GET", &format!("{path}?logs=1"), &[], "").await;
    let mut without = stack.client().await.stream("GET", &path, &[], "").await;
    assert_eq!(with_logs.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(with_logs.header("x-fal-request-id"), Some(&*id.to_string()));
    let queued = with_urls(id, json!({ "status": "IN_QUEUE", "queue_position": 1 }));
    assert_eq!(data(&with_logs.block().await.unwrap()), queued);
    assert_eq!(data(&without.block().await.unwrap()), queued);
    worker.make_next().await;
    assert_eq!(stack.status(first).await.status, Status::Completed);
    // A later client gets the position of now.
    let mut late = stack.client().await.stream("GET", &path, &[], "").await;
    assert_eq!(data(&late.block().await.unwrap())["queue_position"], 0);

    let mut lease = worker.claim().await;
    let started = data(&with_logs.block().await.unwrap());
    let by = format!("Started on worker {}", lease.worker.as_str());
    assert_eq!(messages(&started), ["Queued", &by]);
    let running = with_urls(id, json!({ "status": "IN_PROGRESS", "logs": null }));
    assert_eq!(data(&without.block().await.unwrap()), running);
    for step in [0, 5] {
        worker.preview(&mut lease, step).await;
        let event = data(&with_logs.block().await.unwrap());
        assert_eq!(messages(&event), [format!("Step {} of 20", step + 1)]);
    }
    worker.complete(lease).await;
    let [completed] = &with_logs.rest().await[..] else { panic!("one event, then the end") };
    let completed = data(completed);
    assert_eq!((&completed["status"], messages(&completed)), (&json!("COMPLETED"), vec!["Completed"]));
    let told = json!({ "status": "COMPLETED", "logs": null, "metrics": { "inference_time": 0.0 } });
    let expected = with_urls(id, told);
    let [last] = &without.rest().await[..] else { panic!("one event, then the end") };
    assert_eq!(data(last), expected);
    // After the end there is one event.
    let mut ended = stack.client().await.stream("GET", &path, &[], "").await;
    let [only] = &ended.rest().await[..] else { panic!("one event, then the end") };
    assert_eq!(data(only), expected);
}

#[tokio::test]
async fn a_cancel_ends_the_status_stream() {
    let stack = Stack::start().await;
    let id = submit(&stack).await;
    let path = format!("{}/status/stream?logs=1", request(id));
    let mut stream = stack.client().await.stream("GET", &path, &[], "").await;
    stream.block().await.unwrap();
    stack.ask("PUT", &format!("{}/cancel", request(id)), "").await;
    let [last] = &stream.rest().await[..] else { panic!("one event, then the end") };
    let last = data(last);
    assert_eq!(
        (&last["error_type"], &last["logs"][1]["level"]),
        (&json!("client_cancelled"), &json!("WARN"))
    );
    assert_eq!(messages(&last), ["Queued", "Request was cancelled"]);
}

#[tokio::test]
async fn the_addresses_are_those_by_which_the_client_came() {
    let trusted = Stack::start().await;
    let untrusted =
        Stack::with(Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Config::default() })
            .await;
    let https = ("x-forwarded-proto", "https");
    let at = ("host", "pictures.example:8443");
    for (stack, headers, base) in [
        (&trusted, &[at][..], "http://pictures.example:8443/queue"),
        (&trusted, &[at, https], "https://pictures.example:8443/queue"),
        (&trusted, &[at, ("x-forwarded-proto", "https, http")], "https://pictures.example:8443/queue"),
        (&trusted, &[at, ("x-forwarded-proto", "gopher")], "http://pictures.example:8443/queue"),
        (&untrusted, &[at, https], "http://pictures.example:8443/queue"),
    ] {
        assert_eq!(base_of(stack, QUEUE, headers).await, base, "{headers:?}");
    }
    let listens_on = format!("http://{}/queue", trusted.address);
    assert_eq!(base_of(&trusted, QUEUE, &[("host", "not an address")]).await, listens_on);
    let public: PublicUrl = "https://example.com/pictures/".parse().unwrap();
    let behind = Stack::with(Config { public_url: Some(public), ..Config::default() }).await;
    assert_eq!(base_of(&behind, QUEUE, &[at]).await, "https://example.com/pictures/queue");
    assert_eq!(
        base_of(&behind, "/glimpse/demo", &[("host", "queue.x")]).await,
        "https://example.com/pictures/queue"
    );
}

/// The address of the queue in the answer to a submit.
async fn base_of(stack: &Stack, path: &str, headers: &[(&str, &str)]) -> String {
    let answer = stack.client().await.ask("POST", path, headers, BODY.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let rest = format!("/glimpse/demo/requests/{}", body["request_id"].as_str().unwrap());
    body["response_url"].as_str().unwrap().strip_suffix(&rest).unwrap().to_owned()
}

#[tokio::test]
async fn a_host_of_its_own_needs_no_prefix() {
    let stack = Stack::start().await;
    let host = [("host", "Queue.example")];
    assert_eq!(base_of(&stack, "/glimpse/demo", &host).await, "http://Queue.example");
    assert_eq!(base_of(&stack, QUEUE, &host).await, "http://Queue.example/queue");
    let id = submit(&stack).await;
    let path = format!("/glimpse/demo/requests/{id}/status/?logs=1");
    let answer = stack.client().await.ask("GET", &path, &host, b"").await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("IN_QUEUE")));
    for path in ["/health/live", "/", "/v1/workers/"] {
        assert_eq!(stack.client().await.ask("GET", path, &host, b"").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_webhook_is_refused_by_its_name() {
    let stack = Stack::start().await;
    let answer = stack.post(&format!("{QUEUE}?fal_webhook=https%3A%2F%2Fexample.com%2Fhook"), BODY).await;
    assert_eq!(answer.status, 422);
    let error = &answer.json()["detail"][0];
    assert_eq!(
        (&error["loc"], &error["type"]),
        (&json!(["query", "fal_webhook"]), &json!("feature_not_supported"))
    );
}
