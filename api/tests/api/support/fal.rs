//! A client of fal's queue.

use glimpse_shared::id::JobId;
use serde_json::{Value, json};

use super::{Answer, Stack};

pub(crate) const QUEUE: &str = "/queue/glimpse/demo";
pub(crate) const BODY: &str = r#"{"prompt":"a \u00e9 heart","seed":1}"#;

/// Submits a request and returns its id.
pub(crate) async fn submit(stack: &Stack) -> JobId {
    let answer = stack.post(QUEUE, BODY).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["request_id"].as_str().unwrap().parse().unwrap()
}

/// The path of a request.
pub(crate) fn request(id: JobId) -> String {
    format!("{QUEUE}/requests/{id}")
}

/// These members of an answer, with the addresses of the request.
pub(crate) fn with_urls(id: JobId, members: Value) -> Value {
    let url = format!("http://localhost{}", request(id));
    let mut all = json!({
        "request_id": id, "response_url": url, "status_url": format!("{url}/status"), "cancel_url": format!("{url}/cancel"),
    });
    all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    all
}

/// The status of a request.
pub(crate) async fn status(stack: &Stack, id: JobId, query: &str) -> Answer {
    let answer = stack.get(&format!("{}/status{query}", request(id))).await;
    assert_eq!(answer.header("x-fal-request-id"), Some(&*id.to_string()));
    answer
}

/// The messages of a status' log lines.
pub(crate) fn messages(status: &Value) -> Vec<&str> {
    let lines = status["logs"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["source"] == "USER" && line["timestamp"].is_string()));
    lines.iter().map(|line| line["message"].as_str().unwrap()).collect()
}
