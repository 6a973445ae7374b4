//! Errors in OpenAI's form.

use glimpse_api::Config;
use glimpse_shared::{
    event::FailureCode,
    id::Micros,
    store::{Clock, memory::MemoryStore},
};
use serde_json::{Value, json};

use crate::{
    openai::PATH,
    support::{Stack, record},
};

/// The status and the error of a request.
async fn refused(stack: &Stack, body: Value) -> (u16, Value) {
    let answer = stack.post(PATH, &body.to_string()).await;
    assert_eq!(answer.header("x-request-id").map(str::len), Some(36));
    let mut json = answer.json();
    let error = json["error"].take();
    assert_eq!(json, json!({ "error": null }));
    let members: Vec<_> = error.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["message", "type", "param", "code"]);
    (answer.status, error)
}

#[tokio::test]
async fn invalid_fields_are_named_as_the_client_sent_them() {
    let stack = Stack::start().await;
    for (field, value, code) in [
        ("size", json!("100x100"), "invalid_value"),
        ("size", json!("large"), "invalid_value"),
        ("size", json!("2048x2048"), "invalid_value"),
        ("size", json!("+64x64"), "invalid_value"),
        ("n", json!(0), "invalid_value"),
        ("n", json!(5), "invalid_value"),
        ("n", json!("2"), "invalid_type"),
        ("num_images", json!(5), "invalid_value"),
        ("background", json!("transparent"), "invalid_value"),
        ("output_format", json!("gif"), "invalid_value"),
        ("output_compression", json!(101), "invalid_value"),
        ("output_compression", json!(50), "invalid_value"),
        ("response_format", json!("json"), "invalid_value"),
        ("stream", json!("yes"), "invalid_type"),
        ("partial_images", json!(4), "invalid_value"),
        ("num_inference_steps", json!(51), "invalid_value"),
        ("model", json!(7), "invalid_type"),
        ("image", json!("data:,"), "invalid_value"),
    ] {
        let (status, error) = refused(&stack, json!({ "prompt": "x", field: value })).await;
        assert_eq!(status, 400, "{error}");
        assert_eq!((&error["param"], &error["code"]), (&json!(field), &json!(code)), "{error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().starts_with(field), "{error}");
    }
    let (_, error) = refused(&stack, json!({})).await;
    assert_eq!((&error["param"], &error["code"]), (&json!("prompt"), &json!("missing_required_parameter")));
    let (_, error) = refused(&stack, json!({ "prompt": "x", "loras": [{ "path": "a", "scale": 11 }] })).await;
    assert!(error["message"].as_str().unwrap().starts_with("loras[0].scale: "), "{error}");
    assert_eq!(error["param"], "loras[0].scale");
    let (_, error) = refused(&stack, json!([])).await;
    assert_eq!((&error["param"], &error["type"]), (&Value::Null, &json!("invalid_request_error")));
}

#[tokio::test]
async fn a_model_is_the_only_one_or_named() {
    let stack = Stack::start().await;
    for model in ["gpt-image-2", "glimpse/other", ""] {
        let (status, error) = refused(&stack, json!({ "prompt": "x", "model": model })).await;
        assert_eq!((status, &error["param"]), (404, &json!("model")));
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!("model_not_found"), &json!("invalid_request_error"))
        );
    }
    let long = "m".repeat(1 << 20);
    let (_, error) = refused(&stack, json!({ "prompt": "x", "model": long })).await;
    assert!(error["message"].as_str().unwrap().len() < 1000);
    stack.store.heartbeat(&record("two", &"glimpse/other".parse().unwrap())).await.unwrap();
    let (status, error) = refused(&stack, json!({ "prompt": "x" })).await;
    assert_eq!((status, &error["param"]), (400, &json!("model")));
    assert!(error["message"].as_str().unwrap().contains("glimpse/demo, glimpse/other"), "{error}");

    let clock = Clock::manual(Micros(1_700_000_000_000_000));
    let store = std::sync::Arc::new(MemoryStore::new(Config::default().rules(), clock.clone()));
    let nobody = Stack::over(store, Config::default(), clock).await;
    let (status, error) = refused(&nobody, json!({ "prompt": "x" })).await;
    assert_eq!((status, &error["type"], &error["param"]), (503, &json!("server_error"), &Value::Null));
}

#[tokio::test]
async fn a_failed_job_is_not_asked_for_again() {
    let stack = Stack::start().await;
    for (code, status, kind, retried) in [
        (FailureCode::BadRequest, 400, "invalid_request_error", Some("false")),
        (FailureCode::AttemptsExhausted, 500, "server_error", Some("false")),
        (FailureCode::StartTimeout, 504, "server_error", None),
    ] {
        let mut worker = stack.worker();
        let mut client = stack.client().await;
        client.request("POST", PATH, &[], br#"{"prompt":"a heart"}"#).await;
        let lease = worker.claim().await;
        worker.fail(lease, code, "it broke").await;
        let answer = client.answer("POST").await;
        assert_eq!((answer.status, answer.header("x-should-retry")), (status, retried));
        let expected = json!({ "message": "it broke", "type": kind, "param": null, "code": code.as_str() });
        assert_eq!(answer.json()["error"], expected);
    }
}

#[tokio::test]
async fn limits_and_unknown_routes_have_the_same_form() {
    let stack = Stack::with(Config { queue_limit: 1, body_limit: 4096, ..Config::default() }).await;
    stack.submit("a heart").await;
    let full = stack.post(PATH, r#"{"prompt":"x"}"#).await;
    assert_eq!(full.status, 429);
    assert!(full.header("retry-after").is_some());
    let error = &full.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));

    let large = stack.post(PATH, &format!("{{\"prompt\":\"{}\"}}", "x".repeat(5000))).await;
    assert_eq!((large.status, &large.json()["error"]["type"]), (413, &json!("invalid_request_error")));
    for (method, path, status) in [
        ("GET", PATH, 405),
        ("POST", "/v1/images/variations", 404),
        ("POST", "/v1/images/edits/more", 404),
        ("DELETE", "/v1/models", 405),
    ] {
        let answer = stack.ask(method, path, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn what_only_openai_has_is_not_found_in_its_form() {
    let stack = Stack::start().await;
    for (method, path) in [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/files/abc/content"),
        ("POST", "/v1/responses"),
        ("DELETE", "/v1/vector_stores/abc"),
        ("POST", "/v1/images/variations"),
    ] {
        let answer = stack.ask(method, path, "{}").await;
        assert_eq!(answer.status, 404, "{path}");
        let error = &answer.json()["error"];
        assert_eq!(error["type"], "invalid_request_error", "{path}: {}", answer.text());
        assert!(error["message"].as_str().unwrap().contains(path));
    }
    // The others have our own form.
    assert!(stack.get("/v1/nothing").await.json()["detail"].is_string());
}
