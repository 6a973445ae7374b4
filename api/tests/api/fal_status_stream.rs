//! `GET /queue/{owner}/{app}/requests/{id}/status/stream`.

use glimpse_shared::job::Status;
use serde_json::{Value, json};

use crate::support::{
    Stack,
    fal::{messages, request, status, submit, with_urls},
};

/// The JSON of an event.
fn data(block: &str) -> Value {
    serde_json::from_str(block.strip_prefix("data: ").expect("only data")).unwrap()
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
    // The position is told as it moves.
    let next = with_urls(id, json!({ "status": "IN_QUEUE", "queue_position": 0 }));
    assert_eq!(data(&with_logs.block().await.unwrap()), next);
    assert_eq!(data(&without.block().await.unwrap()), next);
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
    let mut ended = stack.client().await.stream("GET", &format!("{path}?logs=1"), &[], "").await;
    let [only] = &ended.rest().await[..] else { panic!("one event, then the end") };
    let polled = status(&stack, id, "?logs=1").await.json();
    assert_eq!(messages(&data(only)), ["Queued", &by, "Completed"]);
    assert_eq!(data(only), polled, "the lines are those of a status");
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
