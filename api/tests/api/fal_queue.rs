//! fal's queue: `POST /queue/{owner}/{app}` and `/queue/{owner}/{app}/requests/{id}`.

use std::time::Duration;

use glimpse_shared::{
    event::FailureCode,
    id::JobId,
    job::{Class, Status},
};
use serde_json::{Value, json};

use crate::support::{
    Stack,
    fal::{BODY, QUEUE, messages, request, status, submit, with_urls},
    picture,
};

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
