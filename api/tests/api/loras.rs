//! LoRAs by URL and Hub id: accepted where a worker of the app loads them.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::job::WorkerRecord;
use serde_json::{Value, json};

use crate::{
    pictures::png,
    support::{Stack, demo, record},
};

const URL: &str = "https://example.com/a.safetensors?token=x";
const HUB: &str = "hf://owner/name";

fn loads(name: &str, sources: &[&str], max_pixels: u64) -> WorkerRecord {
    let mut record = WorkerRecord { max_pixels, ..record(name, &demo()) };
    record.features.extend(sources.iter().map(|&source| source.to_owned()));
    record
}

fn body(app: &str, path: &str, side: u64) -> String {
    let size =
        json!({ "app": app, "prompt": "x", "width": side, "height": side, "loras": [{ "path": path }] });
    size.to_string()
}

/// The errors of a request on our own wire.
async fn refused(stack: &Stack, path: &str, side: u64) -> Vec<Value> {
    let answer = stack.post("/v1/jobs", &body("glimpse/demo", path, side)).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    answer.json()["detail"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_app_without_such_workers_refuses_them_on_every_route() {
    let stack = Stack::start().await;
    for (path, flag) in [(URL, "--allow-lora-urls"), (HUB, "--allow-lora-hub")] {
        let errors = refused(&stack, path, 64).await;
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0]["loc"], json!(["body", "loras", 0, "path"]));
        assert_eq!(errors[0]["type"], "feature_not_supported");
        let msg = errors[0]["msg"].as_str().unwrap();
        assert!(msg.contains("No worker of this app") && msg.contains(flag), "{msg}");
        let fal = json!({ "prompt": "x", "loras": [{ "path": path.trim_start_matches("hf://") }] });
        let answer = stack.post("/glimpse/demo", &fal.to_string()).await;
        assert_eq!(
            (answer.status, &answer.json()["detail"][0]["type"]),
            (422, &json!("feature_not_supported"))
        );
        let openai = json!({ "prompt": "x", "loras": [{ "path": path }] });
        let answer = stack.post("/v1/images/generations", &openai.to_string()).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("loras[0].path")));
    }
}

#[tokio::test]
async fn a_controlnet_needs_a_worker_that_has_them() {
    let stack = Stack::start().await;
    let uri = format!("data:image/png;base64,{}", STANDARD.encode(png(64, 64)));
    let body =
        json!({ "app": "glimpse/demo", "prompt": "x", "controlnets": [{ "path": "canny", "image": uri }] });
    let answer = stack.post("/v1/jobs", &body.to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let stack = Stack::start().await;
    let mut old = record("worker", &demo());
    old.features.retain(|feature| feature != "controlnets");
    for worker in stack.store.workers().await.unwrap() {
        let mut record = worker.record.clone();
        record.features.clone_from(&old.features);
        stack.store.heartbeat(&record).await.unwrap();
    }
    let answer = stack.post("/v1/jobs", &body.to_string()).await;
    let error = &answer.json()["detail"][0];
    assert_eq!((answer.status, &error["loc"]), (422, &json!(["body", "controlnets"])), "{}", answer.text());
    assert_eq!((&error["type"], &error["input"]), (&json!("feature_not_supported"), &json!(["canny"])));
    assert!(error["msg"].as_str().unwrap().contains("--controlnet-dir"), "{error}");
}

#[tokio::test]
async fn a_controlnet_of_the_hub_needs_a_worker_that_loads_it() {
    let stack = Stack::start().await;
    let uri = format!("data:image/png;base64,{}", STANDARD.encode(png(64, 64)));
    let post = async |stack: &Stack, path: &str| {
        let nets = json!([{ "path": "canny", "image": uri }, { "path": path, "image": uri }]);
        let body = json!({ "app": "glimpse/demo", "prompt": "x", "controlnets": nets });
        stack.post("/v1/jobs", &body.to_string()).await
    };
    for (path, flag) in [(HUB, "--allow-lora-hub"), (URL, "--allow-lora-urls")] {
        let answer = post(&stack, path).await;
        let error = &answer.json()["detail"][0];
        let loc = json!(["body", "controlnets", 1, "path"]);
        assert_eq!((answer.status, &error["loc"], &error["input"]), (422, &loc, &json!(path)), "{error}");
        let msg = error["msg"].as_str().unwrap();
        assert!(msg.contains("ControlNets from") && msg.contains(flag), "{msg}");
    }
    // Without such a worker it is a folder, and with one it is on the Hub.
    assert_eq!(post(&stack, "xinsir/canny").await.status, 202);
    // An API knows the workers of a moment ago.
    let stack = Stack::start().await;
    stack.store.heartbeat(&loads("two", &["controlnet_hub"], 512 * 512)).await.unwrap();
    for path in ["xinsir/canny", HUB] {
        let answer = post(&stack, path).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_worker_that_loads_them_gets_the_job() {
    let stack = Stack::start().await;
    stack.store.heartbeat(&loads("two", &["lora_urls"], 512 * 512)).await.unwrap();
    let answer = stack.post("/v1/jobs", &body("glimpse/demo", URL, 64)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(refused(&stack, HUB, 64).await[0]["type"], "feature_not_supported");
    let apps = stack.get("/v1/apps").await.json();
    let features = apps["apps"][0]["features"].as_array().unwrap();
    assert!(features.contains(&json!("lora_urls")) && !features.contains(&json!("lora_hub")), "{features:?}");
}

#[tokio::test]
async fn what_no_worker_offers_together_is_refused_for_each_part() {
    let stack = Stack::start().await;
    stack.store.heartbeat(&loads("two", &["lora_urls"], 256 * 256)).await.unwrap();
    let fields =
        |errors: Vec<Value>| -> Vec<Value> { errors.iter().map(|error| error["loc"].clone()).collect() };
    let errors = refused(&stack, URL, 512).await;
    assert!(errors[0]["msg"].as_str().unwrap().contains("65536 pixels"), "{errors:?}");
    assert_eq!(fields(errors), [json!(["body", "width"]), json!(["body", "loras", 0, "path"])]);
}
