//! `POST /{owner}/{app}`.

use glimpse_shared::{event::FailureCode, job::Status};
use serde_json::json;

use crate::support::{Stack, picture};

const PATH: &str = "/glimpse/demo";

#[tokio::test]
async fn the_answer_has_the_pictures_and_the_seed() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let answer =
        stack.post(PATH, r#"{"prompt":"a \u00e9 heart","seed":9007199254740992,"num_images":2}"#).await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "images": [picture("final 0"), picture("final 1")],
        "image": picture("final 0"),
        "seed": 9007199254740992_u64,
        "prompt": "a é heart",
        "timings": { "inference": 1.5, "decode": 0.25 },
    });
    assert_eq!(answer.json(), expected);
    let id = answer.header("x-fal-request-id").unwrap().parse().unwrap();
    assert_eq!(stack.status(id).await.status, Status::Completed);
}

#[tokio::test]
async fn a_job_that_no_worker_claims_in_time_is_504() {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    client.request("POST", PATH, &[("x-fal-request-timeout", "2")], br#"{"prompt":"a heart"}"#).await;
    // The job is in the queue before its deadline can pass.
    while stack.store.reap(stack.store.now().await.unwrap()).await.unwrap().ended.is_empty() {
        stack.clock.advance(std::time::Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let answer = client.answer("POST").await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json(), json!({ "detail": "Request timed out", "error_type": "request_timeout" }));
    assert_eq!(answer.header("x-fal-request-timeout-type"), Some("user"));
    assert_eq!(answer.header("x-fal-error-type"), Some("request_timeout"));
}

#[tokio::test]
async fn a_cancelled_job_is_499() {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], br#"{"prompt":"a heart"}"#).await;
    let lease = stack.worker().claim().await;
    stack.ask("DELETE", &format!("/v1/jobs/{}", lease.job.id), "").await;
    let answer = client.answer("POST").await;
    assert_eq!((answer.status, &*answer.reason), (499, "Client Closed Request"));
    assert_eq!(answer.json(), json!({ "detail": "Request was cancelled", "error_type": "client_cancelled" }));
}

#[tokio::test]
async fn a_job_that_the_model_cannot_serve_is_400_and_any_other_failure_500() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    for (code, status) in [
        (FailureCode::BadRequest, 400),
        (FailureCode::AttemptsExhausted, 500),
        (FailureCode::RunTimeout, 500),
        (FailureCode::Internal, 500),
    ] {
        let mut client = stack.client().await;
        client.request("POST", PATH, &[], br#"{"prompt":"a heart"}"#).await;
        let lease = worker.claim().await;
        worker.fail(lease, code, "why").await;
        let answer = client.answer("POST").await;
        assert_eq!((answer.status, &answer.json()["detail"]), (status, &json!("why")));
    }
}

#[tokio::test]
async fn a_disconnect_cancels_the_job() {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], br#"{"prompt":"a heart"}"#).await;
    let lease = stack.worker().claim().await;
    drop(client);
    stack.until(lease.job.id, Status::Cancelled).await;
}
