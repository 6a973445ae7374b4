//! The warnings of a job, on every route that returns its pictures.

use glimpse_shared::event::{Warning, WarningCode};
use serde_json::{Value, json};

use crate::support::{Answer, Stack};

const PATH: &str = "/glimpse/demo";
const BODY: &str = r#"{"prompt":"a heart","seed":1}"#;

fn truncated() -> Vec<Warning> {
    let message = "prompt is too long: the model reads 75 of its 98 tokens".to_owned();
    vec![Warning { code: WarningCode::PromptTruncated, message }]
}

/// The JSON of these warnings.
fn said() -> Value {
    json!([{ "code": "prompt_truncated", "message": truncated()[0].message }])
}

/// fal's response to a request whose job ends with these warnings.
async fn ran(warnings: Vec<Warning>) -> Answer {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], BODY.as_bytes()).await;
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    worker.complete_warning(lease, warnings).await;
    client.answer("POST").await
}

/// The last event of fal's stream.
async fn streamed(warnings: Vec<Warning>) -> Value {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    client.request("POST", &format!("{PATH}/stream"), &[], BODY.as_bytes()).await;
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    worker.complete_warning(lease, warnings).await;
    let last = client.opened().await.rest().await.pop().unwrap();
    serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap()
}

/// The job, and its last event, on our own routes.
async fn owned(warnings: Vec<Warning>) -> (Value, Value) {
    let stack = Stack::start().await;
    let id = stack.submit("a heart").await;
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    worker.complete_warning(lease, warnings).await;
    let job = stack.get(&format!("/v1/jobs/{id}")).await.json();
    let path = format!("/v1/jobs/{id}/events");
    let last = stack.client().await.stream("GET", &path, &[], "").await.rest().await.pop().unwrap();
    let data = last.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    (job, serde_json::from_str(data).unwrap())
}

#[tokio::test]
async fn every_route_returns_the_warnings() {
    assert_eq!(ran(truncated()).await.json()["warnings"], said());
    assert_eq!(streamed(truncated()).await["warnings"], said());
    let (job, event) = owned(truncated()).await;
    assert_eq!((&job["warnings"], &event["warnings"]), (&said(), &said()));
    assert_eq!(job["status"], "completed");
}

#[tokio::test]
async fn without_warnings_there_is_no_such_member() {
    let (job, event) = owned(Vec::new()).await;
    for answer in [ran(Vec::new()).await.json(), streamed(Vec::new()).await, job, event] {
        assert!(answer.is_object() && answer.get("warnings").is_none(), "{answer}");
    }
}
