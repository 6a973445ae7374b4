//! What the operator does not allow to be drawn.

use std::io::Write as _;

use glimpse_api::{Blocklist, Config};
use glimpse_shared::{event::FailureCode, verdict::OnFailure};
use glimpse_test_support::{WebhookAnswer, WebhookReceiver};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::support::{Answer, Stack};

const VIOLATION: &str = "content_policy_violation";

/// A submit's route and body, for each wire.
fn submits(prompt: &str) -> [(&'static str, String); 4] {
    [
        ("/v1/jobs", json!({ "app": "glimpse/demo", "prompt": prompt, "negative_prompt": "gore" })),
        ("/glimpse/demo/stream", json!({ "prompt": prompt })),
        ("/queue/glimpse/demo", json!({ "prompt": prompt })),
        ("/v1/images/generations", json!({ "model": "glimpse/demo", "prompt": prompt })),
    ]
    .map(|(path, body)| (path, body.to_string()))
}

async fn post(stack: &Stack, path: &str, body: &str) -> Answer {
    stack.client().await.ask("POST", path, &[("content-type", "application/json")], body.as_bytes()).await
}

async fn jobs(stack: &Stack) -> usize {
    let list = stack.client().await.ask("GET", "/v1/jobs", &[], b"").await.json();
    list["jobs"].as_array().unwrap().len()
}

/// Checks that every wire refuses the prompt, in its own form, and queues nothing.
async fn refused(stack: &Stack, prompt: &str, message: &str) {
    for (path, body) in submits(prompt) {
        let answer = post(stack, path, &body).await;
        let json = answer.json();
        if path.contains("images") {
            assert_eq!(answer.status, 400, "{path}: {json}");
            assert_eq!(json["error"]["code"], "content_policy_violation", "{json}");
            assert_eq!(json["error"]["param"], "prompt", "{json}");
            continue;
        }
        assert_eq!(answer.status, 422, "{path}: {json}");
        let detail = &json["detail"][0];
        assert_eq!(detail["type"], "content_policy_violation", "{path}: {json}");
        assert_eq!(detail["loc"], json!(["body", "prompt"]), "{path}: {json}");
        assert_eq!(detail["msg"], message, "{path}: {json}");
    }
    assert_eq!(jobs(stack).await, 0);
}

async fn accepted(stack: &Stack, prompt: &str) {
    let (path, body) = &submits(prompt)[0];
    let answer = post(stack, path, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

#[tokio::test]
async fn a_prompt_with_a_listed_word_is_refused_on_every_wire() {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"# not here\ngore\nvery bad\n").unwrap();
    let mut config = Config::default();
    config.policy.prompt_blocklist = Some(Blocklist::read(file.path().to_str().unwrap()).unwrap());
    let stack = Stack::with(config).await;
    let message = "The prompt has words that the operator of this server does not allow";
    refused(&stack, "a (GORE:1.2) heart", message).await;
    refused(&stack, "a very, bad heart", message).await;
    // The negative prompt may name what is not to be drawn.
    accepted(&stack, "a bad heart").await;
}

/// Each wire answers a job whose picture its worker was not allowed to show as it answers a refused prompt.
#[tokio::test]
async fn a_refused_picture_is_answered_as_a_refused_prompt() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let mut fail = async || {
        let lease = worker.claim().await;
        let id = lease.job.id;
        worker.fail(lease, FailureCode::ContentPolicyViolation, "Not in this house").await;
        id
    };
    let detail = json!([{ "loc": ["body", "prompt"], "msg": "Not in this house", "type": VIOLATION }]);
    for path in ["/glimpse/demo", "/glimpse/demo/stream"] {
        let mut client = stack.client().await;
        client.request("POST", path, &[], br#"{"prompt":"a heart"}"#).await;
        fail().await;
        let answer = client.answer("POST").await;
        assert_eq!((answer.status, &answer.json()["detail"]), (422, &detail), "{path}");
    }
    let mut client = stack.client().await;
    client.request("POST", "/v1/images/generations", &[], br#"{"prompt":"a heart"}"#).await;
    fail().await;
    let answer = client.answer("POST").await;
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &error["code"], &error["param"]), (400, &json!(VIOLATION), &json!("prompt")));

    let queued = post(&stack, "/queue/glimpse/demo", r#"{"prompt":"a heart"}"#).await;
    assert_eq!(queued.status, 200, "{}", queued.text());
    let id = fail().await;
    let request = format!("/queue/glimpse/demo/requests/{id}");
    let status = stack.get(&format!("{request}/status")).await.json();
    assert_eq!(
        (&status["error"], &status["error_type"]),
        (&json!("Invalid status code: 422"), &json!(VIOLATION))
    );
    let result = stack.get(&request).await;
    assert_eq!((result.status, &result.json()["detail"]), (422, &detail));
    // Our own routes have the code and the reason.
    let job = stack.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!(job["error"], json!({ "code": VIOLATION, "message": "Not in this house" }));
}

#[tokio::test]
async fn a_stream_with_previews_ends_with_the_refusal() {
    let stack = Stack::start().await;
    let (mut stream, worker, lease) = stack.stream_with_preview().await;
    worker.fail(lease, FailureCode::ContentPolicyViolation, "Not in this house").await;
    let error = stream.block().await.unwrap();
    assert_eq!(error, r#"data: {"error":"content_policy_violation","detail":"prompt: Not in this house"}"#);
}

#[cfg(test)]
async fn moderated(on_failure: OnFailure, receiver: &WebhookReceiver) -> Stack {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::default();
    config.policy.moderation_url = Some(receiver.url("/check?key=secret").parse().unwrap());
    config.policy.moderation_failure = on_failure;
    config.policy.moderation_timeout = 1;
    Stack::with(config).await
}

#[tokio::test]
async fn an_endpoint_decides_before_a_job_is_queued() {
    let receiver = WebhookReceiver::start(|_, call| {
        let asked = call.json();
        let verdict = match asked["prompt"].as_str().unwrap() {
            "bad" => json!({ "allowed": false, "reason": "Not in this house" }),
            "worse" => json!({ "allowed": false }),
            _ => json!({ "allowed": true, "score": 0.1 }),
        };
        WebhookAnswer::Body(verdict.to_string())
    });
    let stack = moderated(OnFailure::Refuse, &receiver).await;
    refused(&stack, "bad", "Not in this house").await;
    refused(&stack, "worse", "The operator of this server does not allow this prompt").await;
    accepted(&stack, "good").await;
    let last = receiver.calls().pop().unwrap();
    let expected = json!({
        "app": "glimpse/demo", "tenant": "anonymous", "prompt": "good", "negative_prompt": "gore",
    });
    assert_eq!((last.path.as_str(), last.json()), ("/check?key=secret", expected));
    // A request with an invalid field is not asked about.
    let before = receiver.calls().len();
    let answer = post(&stack, "/v1/jobs", r#"{"app":"glimpse/demo","prompt":"good","steps":-1}"#).await;
    assert_eq!((answer.status, receiver.calls().len()), (422, before));
}

#[tokio::test]
async fn without_a_verdict_a_prompt_is_refused_or_allowed_as_the_operator_says() {
    for (number, answer) in [
        WebhookAnswer::status(500),
        WebhookAnswer::Silence,
        WebhookAnswer::Close,
        WebhookAnswer::Endless,
        WebhookAnswer::Redirect("http://127.0.0.1:9/".to_owned()),
        WebhookAnswer::Body(r#"{"permitted":true}"#.to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let receiver = WebhookReceiver::start(move |_, _| answer.clone());
        let stack = moderated(OnFailure::Refuse, &receiver).await;
        for (path, body) in submits("a heart") {
            let answer = post(&stack, path, &body).await;
            assert_eq!(answer.status, 503, "{number} {path}: {}", answer.text());
            assert_eq!(answer.header("retry-after"), Some("2"));
            assert!(!answer.text().contains("secret"));
        }
        assert_eq!(jobs(&stack).await, 0);
        let stack = moderated(OnFailure::Allow, &receiver).await;
        accepted(&stack, "a heart").await;
    }
}
