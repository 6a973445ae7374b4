//! `GET /v1/apps`.

use std::time::Duration;

use glimpse_shared::job::{WorkerRecord, WorkerState};
use serde_json::json;

use crate::support::{Stack, demo, record};

#[tokio::test]
async fn an_app_says_what_it_offers_and_how_long_it_takes() {
    let stack = Stack::start().await;
    let small = WorkerRecord {
        max_pixels: 256 * 256,
        schedulers: vec!["DDIMScheduler".to_owned()],
        features: vec!["image".to_owned(), "loras".to_owned()],
        loras: vec!["charcoal".to_owned()],
        state: WorkerState::Busy,
        ..record("two", &demo())
    };
    stack.store.heartbeat(&small).await.unwrap();
    let one = record("one", &demo());
    let mut app = json!({
        "app": "glimpse/demo", "native_width": one.native_width, "native_height": one.native_height,
        "max_pixels": one.max_pixels, "schedulers": ["DDIMScheduler", "EulerDiscreteScheduler"],
        "features": [
            "aesthetic_score", "controlnet_modes", "controlnets", "embeddings", "finish_at_step", "from", "hires", "image", "long_prompt", "lora_scales", "loras",
            "mask", "padding_mask_crop", "prompt_syntax", "refiner", "scheduler_config", "seeds"
        ],
        "loras": ["charcoal", "ink"], "models": [], "workers": 2,
        "waiting": 0,
    });
    let answer = stack.get("/v1/apps").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "apps": [app] })));

    // A job of 4 s, then two that wait for an idle worker of two.
    stack.submit("one").await;
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    stack.clock.advance(Duration::from_secs(4));
    worker.complete(lease).await;
    for prompt in ["two", "three"] {
        stack.submit(prompt).await;
    }
    app["waiting"] = json!(2);
    app["expected_wait"] = json!(4.0);
    assert_eq!(stack.get("/v1/apps").await.json(), json!({ "apps": [app] }));
}

#[tokio::test]
async fn without_workers_there_are_no_apps() {
    let stack = Stack::start().await;
    stack.clock.advance(Duration::from_secs(61));
    assert_eq!(stack.get("/v1/apps").await.json(), json!({ "apps": [] }));
}
