//! What fal's callers send, on every route of fal's. The rules of the fields are in `shared/tests/fal.rs`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::Stack;

fn png() -> String {
    let mut file = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut file, image::ImageFormat::Png).unwrap();
    format!("data:image/png;base64,{}", STANDARD.encode(file.into_inner()))
}

/// The routes of an endpoint.
fn routes(endpoint: &str) -> [String; 3] {
    [
        format!("/glimpse/demo{endpoint}"),
        format!("/glimpse/demo{endpoint}/stream"),
        format!("/queue/glimpse/demo{endpoint}"),
    ]
}

#[tokio::test]
async fn each_endpoint_has_its_strength_on_every_route() {
    let stack = Stack::start().await;
    let body = json!({ "prompt": "a heart", "image_url": png(), "mask_url": png() }).to_string();
    for (endpoint, strength) in [("", 0.9999), ("/image-to-image", 0.95), ("/inpainting", 0.95)] {
        for path in routes(endpoint) {
            let mut client = stack.client().await;
            client.request("POST", &path, &[], body.as_bytes()).await;
            let mut worker = stack.worker();
            let lease = worker.claim().await;
            assert_eq!(lease.job.spec.strength(), strength, "{path}");
            worker.complete(lease).await;
            assert_eq!(client.answer("POST").await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn a_missing_picture_is_named() {
    let stack = Stack::start().await;
    for (endpoint, missing) in
        [("/image-to-image", &["image_url"][..]), ("/inpainting", &["image_url", "mask_url"])]
    {
        for path in routes(endpoint) {
            let answer = stack.post(&path, r#"{"prompt":"a heart"}"#).await;
            assert_eq!(answer.status, 422, "{path}");
            let body = answer.json();
            let fields: Vec<_> =
                body["detail"].as_array().unwrap().iter().map(|error| &error["loc"][1]).collect();
            assert_eq!(fields, missing, "{path}");
        }
    }
    assert_eq!(stack.post("/glimpse/demo/upscale", r#"{"prompt":"a heart"}"#).await.status, 404);
    assert_eq!(stack.post("/queue/glimpse/demo/upscale", r#"{"prompt":"a heart"}"#).await.status, 404);
}

#[tokio::test]
async fn fals_fields_are_understood_on_fals_routes_alone() {
    let stack = Stack::start().await;
    let sent = json!({
        "prompt": "a heart", "image_size": "landscape_16_9", "format": "png", "sync_mode": true, "num_images": 4,
        "enable_safety_checker": true, "embeddings": [], "loras": [{ "path": "pixel" }],
    });
    for path in routes("") {
        let mut client = stack.client().await;
        client.request("POST", &path, &[], sent.to_string().as_bytes()).await;
        let mut worker = stack.worker();
        let lease = worker.claim().await;
        let spec = &lease.job.spec;
        // The app's own size is 128x128.
        assert_eq!((spec.width(), spec.height(), spec.num_images()), (128, 72, 4), "{path}");
        assert_eq!(spec.output_format().content_type(), "image/png");
        worker.complete(lease).await;
        assert_eq!(client.answer("POST").await.status, 200, "{path}");
        let answer = stack.post(&path, r#"{"prompt":"a heart","ip_adapters":[{"path":"ip"}]}"#).await;
        let error = &answer.json()["detail"][0];
        assert_eq!(error["loc"], json!(["body", "ip_adapters"]), "{path}");
        assert_eq!(error["type"], "feature_not_supported");
    }
    let mut own = sent;
    own["app"] = "glimpse/demo".into();
    let answer = stack.post("/v1/jobs", &own.to_string()).await.json();
    let refused: Vec<_> = answer["detail"].as_array().unwrap().iter().map(|error| &error["loc"][1]).collect();
    assert_eq!(refused, ["enable_safety_checker", "format", "image_size", "sync_mode"]);
}

#[tokio::test]
async fn a_prompt_that_is_not_expanded_is_warned_of() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let body = r#"{"prompt":"a heart","expand_prompt":true}"#;
    let warned = |answer: &Value| {
        let warnings = answer["warnings"].as_array().unwrap();
        assert_eq!((warnings.len(), &warnings[0]["code"]), (1, &json!("prompt_not_expanded")));
    };
    let answer = stack.post("/glimpse/demo", body).await.json();
    warned(&answer);
    assert!(answer.get("has_nsfw_concepts").is_none());
    let id = stack.post("/queue/glimpse/demo", body).await.json()["request_id"].as_str().unwrap().to_owned();
    stack.until(id.parse().unwrap(), glimpse_shared::job::Status::Completed).await;
    warned(&stack.get(&format!("/queue/glimpse/demo/requests/{id}")).await.json());
    warned(&stack.get(&format!("/v1/jobs/{id}")).await.json());
}
