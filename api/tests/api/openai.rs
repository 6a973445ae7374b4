//! `POST /v1/images/generations` and `GET /v1/models`.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::{
    event::WarningCode,
    id::JobId,
    job::Status,
    request::{OutputFormat, PreviewSource},
};
use serde_json::{Value, json};

use crate::support::{Stack, record};

pub(crate) const PATH: &str = "/v1/images/generations";

fn base64(name: &str) -> String {
    STANDARD.encode(name)
}

/// An answer without the members that change.
fn undated(mut answer: Value) -> Value {
    let created = answer.as_object_mut().unwrap().remove("created").unwrap();
    assert!(created.as_u64().unwrap() > 1_700_000_000);
    answer
}

#[tokio::test]
async fn the_answer_has_the_pictures_in_base64() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let answer = stack.post(PATH, r#"{"prompt":"a heart","model":"glimpse/demo","n":2,"seed":7}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = json!({
        "data": [{ "b64_json": base64("final 0") }, { "b64_json": base64("final 1") }],
        "size": "128x128", "background": "opaque", "output_format": "png", "seed": 7,
    });
    assert_eq!(undated(answer.json()), expected);
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(answer.header("x-fal-request-id"), Some(id));
    stack.until(id.parse().unwrap(), Status::Completed).await;
}

#[tokio::test]
async fn urls_load_the_pictures() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let body = r#"{"prompt":"a heart","n":2,"response_format":"url","quality":"high"}"#;
    let headers = [("host", "pictures.example")];
    let answer = stack.client().await.ask("POST", PATH, &headers, body.as_bytes()).await;
    let id: JobId = answer.header("x-request-id").unwrap().parse().unwrap();
    let url = format!("http://pictures.example/v1/jobs/{id}/image");
    let json = answer.json();
    assert_eq!(json["data"], json!([{ "url": url }, { "url": format!("{url}?index=1") }]));
    assert_eq!(json["quality"], "high");
    for (index, name) in ["final 0", "final 1"].iter().enumerate() {
        let loaded = stack.get(&format!("/v1/jobs/{id}/image?index={index}")).await;
        assert_eq!((loaded.status, loaded.text()), (200, *name));
    }
    assert_eq!(stack.get(&format!("/v1/jobs/{id}/image?index=2")).await.status, 404);
    let wrong = stack.get(&format!("/v1/jobs/{id}/image?index=one")).await;
    assert_eq!((wrong.status, &wrong.json()["detail"][0]["loc"]), (422, &json!(["query", "index"])));
}

/// The request that a worker gets for this body.
async fn asked(body: Value) -> glimpse_shared::request::ImageSpec {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], body.to_string().as_bytes()).await;
    stack.worker().claim().await.job.spec
}

#[tokio::test]
async fn openais_names_are_understood_and_ours_count_first() {
    let spec = asked(json!({ "prompt": "a heart" })).await;
    assert_eq!((spec.width(), spec.height(), spec.num_images()), (128, 128, 1));
    assert_eq!((spec.output_format(), spec.preview_source()), (OutputFormat::Png, PreviewSource::Denoised));
    assert!(spec.partials().is_empty());
    assert!(!(0..20).any(|step| spec.has_preview_after(step)), "nobody sees previews");

    let spec = asked(json!({
        "prompt": "a heart", "size": "192x64", "n": 3, "output_format": "jpeg", "output_compression": 40,
        "background": "auto", "moderation": "low", "user": "me", "style": "vivid", "negative_prompt": "blue",
        "num_inference_steps": 7, "guidance_scale": 3.5, "partial_images": 2,
    }))
    .await;
    assert_eq!((spec.width(), spec.height(), spec.num_images()), (192, 64, 3));
    assert_eq!((spec.output_format(), spec.jpeg_quality()), (OutputFormat::Jpeg, Some(40)));
    assert_eq!((spec.negative_prompt(), spec.num_inference_steps()), ("blue", 7));
    assert!(spec.partials().is_empty(), "nothing is streamed");

    let ours = json!({ "prompt": "x", "size": "wrong", "n": 9, "width": 64, "num_images": 2 });
    let spec = asked(ours).await;
    assert_eq!((spec.width(), spec.height(), spec.num_images()), (64, 128, 2));
    let spec = asked(json!({ "prompt": "x", "size": "auto", "n": null, "background": null })).await;
    assert_eq!((spec.width(), spec.height()), (128, 128));
}

#[tokio::test]
async fn warnings_come_with_the_answer() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], br#"{"prompt":"a heart"}"#).await;
    let warning = glimpse_shared::event::Warning {
        code: WarningCode::PromptTruncated,
        message: "the end has no effect".to_owned(),
    };
    let lease = worker.claim().await;
    worker.complete_warning(lease, vec![warning]).await;
    let answer = client.answer("POST").await.json();
    assert_eq!(
        answer["warnings"],
        json!([{ "code": "prompt_truncated", "message": "the end has no effect" }])
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_job() {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], br#"{"prompt":"a heart"}"#).await;
    let lease = stack.worker().claim().await;
    drop(client);
    stack.until(lease.job.id, Status::Cancelled).await;
}

#[tokio::test]
async fn models_are_the_served_apps() {
    let stack = Stack::start().await;
    let model = |id: &str| json!({ "id": id, "object": "model", "created": 0, "owned_by": "glimpse" });
    let list = stack.get("/v1/models").await;
    assert_eq!(list.json(), json!({ "object": "list", "data": [model("glimpse/demo")] }));
    assert!(list.header("x-request-id").is_some());
    for path in ["/v1/models/glimpse/demo", "/v1/models/glimpse%2Fdemo", "/v1/models/glimpse%2fdemo"] {
        assert_eq!(stack.get(path).await.json(), model("glimpse/demo"), "{path}");
    }
    stack.store.heartbeat(&record("two", &"glimpse/other".parse().unwrap())).await.unwrap();
    let list = stack.get("/v1/models").await.json();
    assert_eq!(list["data"], json!([model("glimpse/demo"), model("glimpse/other")]));
    for path in ["/v1/models/glimpse", "/v1/models/glimpse/third", "/v1/models/%FF"] {
        let answer = stack.get(path).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (404, &json!("model_not_found")),
            "{path}"
        );
    }
}
