//! `POST /v1/jobs/{id}/finish`, and `finish_at_step` of a request.

use glimpse_shared::{
    event::Timings,
    store::{Ending, Hold},
};
use serde_json::json;

use crate::support::{Stack, picture};

#[tokio::test]
async fn a_job_finishes_early_with_the_picture_that_it_has() {
    let stack = Stack::start().await;
    let id = stack.submit("a heart").await;
    let path = format!("/v1/jobs/{id}/finish");
    let early = stack.post(&path, "").await;
    assert_eq!(early.status, 409);
    assert!(early.json()["detail"].as_str().unwrap().starts_with("The job has made no step yet"));
    let mut worker = stack.worker();
    let mut lease = worker.claim().await;
    assert_eq!(stack.post(&path, "").await.status, 409, "it has made no step");
    worker.preview(&mut lease, 5).await;
    for _ in 0..2 {
        let answer = stack.post(&path, "").await;
        assert_eq!(
            (answer.status, answer.json()),
            (202, json!({ "id": id.to_string(), "status": "running" }))
        );
    }
    assert_eq!(worker.preview(&mut lease, 7).await, Hold::FinishEarly(5));

    let timings = Timings { inference: 1.5, decode: 0.25 };
    let images = vec![picture("an estimate")];
    let ending = Ending::completed_at(Some(7), images, (7, Vec::new()), timings, Vec::new());
    stack.store.finish(&mut lease, &ending).await.unwrap();
    let answer = stack.post(&path, "").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "id": id.to_string(), "status": "completed" })));
    let job = stack.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!((&job["status"], &job["finished_at_step"]), (&json!("completed"), &json!(7)));
    let events = stack.get(&format!("/v1/jobs/{id}/events")).await;
    assert!(events.text().contains(r#""finished_at_step":7"#), "{}", events.text());
}

#[tokio::test]
async fn an_unknown_job_does_not_finish() {
    let stack = Stack::start().await;
    for id in ["01938c00-0000-7000-8000-000000000007", "nothing"] {
        let answer = stack.post(&format!("/v1/jobs/{id}/finish"), "").await;
        assert_eq!((answer.status, answer.json()), (404, json!({ "detail": "Job not found" })));
    }
}

#[tokio::test]
async fn a_request_names_the_step_at_which_it_finishes() {
    let stack = Stack::start().await;
    let body = |step: serde_json::Value| {
        json!({ "app": "glimpse/demo", "prompt": "a heart", "finish_at_step": step }).to_string()
    };
    assert_eq!(stack.post("/v1/jobs", &body(json!(7))).await.status, 202);
    let lease = stack.worker().claim().await;
    assert_eq!(lease.job.spec.finish_at_step(), Some(7));
    let needs = lease.job.needs.to_string();
    assert!(needs.contains("feature:finish_at_step"), "old workers do not get it: {needs}");
    for wrong in [json!(-1), json!("7"), json!(1.5), json!(100_000)] {
        let answer = stack.post("/v1/jobs", &body(wrong)).await;
        assert_eq!(
            (answer.status, &answer.json()["detail"][0]["loc"]),
            (422, &json!(["body", "finish_at_step"]))
        );
    }
    // fal's clients do not have it, and their other members are ignored.
    let fals = json!({ "prompt": "a heart", "finish_at_step": 3 }).to_string();
    assert_eq!(stack.post("/queue/glimpse/demo", &fals).await.status, 200);
    let mut worker = stack.worker();
    assert_eq!(worker.claim().await.job.spec.finish_at_step(), None);
}
