//! A fleet of workers with different capabilities.

use std::time::Duration;

use glimpse_shared::{
    event::FailureCode,
    job::{Release, WorkerRecord, WorkerState},
    needs::{Needs, Word},
    store::Claim,
};
use serde_json::{Value, json};

use crate::support::{Stack, demo, record};

/// A worker for large pictures with one scheduler, and a worker for small pictures with another.
fn workers() -> [WorkerRecord; 2] {
    let schedulers = |name: &str| vec![name.to_owned()];
    [
        WorkerRecord {
            max_pixels: 1024 * 1024,
            schedulers: schedulers("DDIMScheduler"),
            ..record("large", &demo())
        },
        WorkerRecord {
            max_pixels: 256 * 256,
            schedulers: schedulers("LCMScheduler"),
            ..record("small", &demo())
        },
    ]
}

async fn mixed() -> Stack {
    let stack = Stack::start().await;
    // The first worker of each stack has expired.
    stack.clock.advance(Duration::from_secs(120));
    for worker in workers() {
        stack.store.heartbeat(&worker).await.unwrap();
    }
    stack
}

fn claim(worker: &WorkerRecord, number: u64) -> Claim {
    Claim {
        worker: worker.id.clone(),
        app: worker.app.clone(),
        affinity: None,
        capabilities: worker.capabilities(),
        number,
    }
}

#[tokio::test]
async fn a_request_is_checked_against_each_worker_for_itself() {
    let stack = mixed().await;
    for (fields, wrong) in [
        (json!({ "width": 1024, "height": 1024 }), vec![]),
        (json!({ "width": 1024, "height": 1024, "scheduler": "DDIM" }), vec![]),
        (json!({ "width": 256, "height": 256, "scheduler": "LCM" }), vec![]),
        (json!({ "width": 512, "height": 1024, "scheduler": "LCM" }), vec!["height", "scheduler"]),
        (json!({ "width": 264, "height": 256, "scheduler": "LCMScheduler" }), vec!["width", "scheduler"]),
        (json!({ "width": 1032, "height": 1024 }), vec!["width"]),
        (json!({ "scheduler": "Magic" }), vec!["scheduler"]),
    ] {
        for path in ["/v1/jobs", "/glimpse/demo", "/glimpse/demo/stream"] {
            let own = path == "/v1/jobs";
            let mut body = json!({ "prompt": "a heart" });
            let members = body.as_object_mut().unwrap();
            members.extend(fields.as_object().unwrap().clone());
            members.extend(own.then(|| ("app".to_owned(), json!("glimpse/demo"))));
            if wrong.is_empty() && !own {
                // The route would wait for the job.
                continue;
            }
            let answer = stack.post(path, &body.to_string()).await;
            if wrong.is_empty() {
                assert_eq!(answer.status, 202, "{fields}: {}", answer.text());
                continue;
            }
            assert_eq!(answer.status, 422, "{path} {fields}: {}", answer.text());
            let errors = answer.json()["detail"].as_array().unwrap().clone();
            let named: Vec<_> = errors.iter().map(|error| error["loc"][1].as_str().unwrap()).collect();
            assert_eq!(named, wrong, "{path} {fields}");
        }
    }
}

#[tokio::test]
async fn changes_of_a_scheduler_need_a_worker_that_reads_them() {
    let stack = mixed().await;
    let [large, small] = workers();
    let body = |members: &str| format!("{{\"app\":\"glimpse/demo\",\"prompt\":\"a\",{members}}}");
    let wrong = async |stack: &Stack, members: &str| -> Vec<String> {
        let answer = stack.post("/v1/jobs", &body(members)).await;
        let errors = answer.json()["detail"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["loc"][1].as_str().unwrap().to_owned()).collect()
    };
    let trailing = r#""scheduler_config":{"timestep_spacing":"trailing"}"#;
    assert!(wrong(&stack, trailing).await.is_empty());
    // The larger worker is of a release that does not know changes.
    let before = WorkerRecord { features: vec!["image".to_owned()], ..large.clone() };
    stack.store.heartbeat(&before).await.unwrap();
    let later = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    let big = r#""width":1024,"height":1024"#;
    assert!(wrong(&later, trailing).await.is_empty());
    assert!(wrong(&later, big).await.is_empty());
    assert_eq!(wrong(&later, &format!("{trailing},{big}")).await, ["width", "scheduler_config"]);
    let trailing_ddim = r#""scheduler":"DDIM trailing""#;
    assert_eq!(wrong(&later, trailing_ddim).await, ["scheduler", "scheduler_config"]);
    assert!(wrong(&later, r#""scheduler":"ddim""#).await.is_empty());
    // The jobs that need nothing of the kind go to any worker.
    let got = stack.store.try_claim(&claim(&before, 1)).await.unwrap().unwrap();
    assert!(got.job.spec.scheduler_config().is_empty(), "{:?}", got.job.spec);
    // No worker knows changes.
    stack.store.heartbeat(&WorkerRecord { features: Vec::new(), ..small }).await.unwrap();
    let later = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    assert_eq!(wrong(&later, trailing).await, ["scheduler_config"]);
    assert_eq!(wrong(&later, r#""preset":"lcm""#).await, Vec::<String>::new());
    assert_eq!(wrong(&later, r#""preset":"dmd2""#).await, ["scheduler_config"]);
}

#[tokio::test]
async fn a_field_that_no_worker_reads_is_422() {
    let stack = mixed().await;
    for worker in workers() {
        let features = vec!["image".to_owned()];
        stack.store.heartbeat(&WorkerRecord { features, ..worker }).await.unwrap();
    }
    let later = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    for (members, field) in [
        (r#""prompt_syntax":"a1111""#, "prompt_syntax"),
        (r#""long_prompt":true"#, "long_prompt"),
        (r#""loras":[{"path":"ink"}]"#, "loras"),
        (r#""embeddings":[{"path":"ink"}]"#, "embeddings"),
        (r#""embeddings":[{"path":"https://example.com/a.safetensors"}]"#, "embeddings"),
        (r#""seeds":[1,2]"#, "seeds"),
        (r#""scheduler_config":{"eta":0.5}"#, "scheduler_config"),
        (r#""denoising_end":0.8"#, "denoising_end"),
        (r#""aesthetic_score":7"#, "aesthetic_score"),
        (r#""hires":{"scale":2}"#, "hires"),
    ] {
        let body = format!("{{\"app\":\"glimpse/demo\",\"prompt\":\"a\",{members}}}");
        let answer = later.post("/v1/jobs", &body).await;
        assert_eq!(answer.status, 422, "{members}: {}", answer.text());
        let error = &answer.json()["detail"][0];
        assert_eq!((&error["loc"][1], &error["type"]), (&json!(field), &json!("feature_not_supported")));
    }
}

/// A stack of two workers with these features beside those of any worker.
async fn with_features(features: [&[&str]; 2]) -> Stack {
    let stack = mixed().await;
    for (worker, features) in workers().into_iter().zip(features) {
        let features = ["image", "mask", "padding_mask_crop"].iter().chain(features);
        let features = features.map(|&feature| feature.to_owned()).collect();
        stack.store.heartbeat(&WorkerRecord { features, ..worker }).await.unwrap();
    }
    Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await
}

/// The fields that a request gets errors for, and their messages.
async fn refused(stack: &Stack, members: &str) -> Vec<(String, String)> {
    let body = format!("{{\"app\":\"glimpse/demo\",\"prompt\":\"a\",{members}}}");
    let answer = stack.post("/v1/jobs", &body).await;
    assert_eq!(answer.status, 422, "{members}: {}", answer.text());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = answer.json()["detail"].as_array().unwrap().clone();
    errors.iter().map(|error| (text(&error["loc"][1]), text(&error["msg"]))).collect()
}

#[cfg(test)]
fn errors(errors: &[(&str, &str)]) -> Vec<(String, String)> {
    errors.iter().map(|(field, msg)| ((*field).to_owned(), (*msg).to_owned())).collect()
}

#[tokio::test]
async fn a_lora_from_a_file_needs_a_worker_with_files() {
    let stack = with_features([&["loras", "no_image", "no_mask"], &["no_image", "no_mask"]]).await;
    let [large, small] = workers();
    let with = |worker: &WorkerRecord, features: &[&str]| WorkerRecord {
        features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        ..worker.clone()
    };
    let (files, none) = (with(&large, &["image", "loras"]), with(&small, &["image"]));
    let body = r#"{"app":"glimpse/demo","prompt":"a","width":64,"height":64,"loras":[{"path":"ink"}]}"#;
    assert_eq!(stack.post("/v1/jobs", body).await.status, 202);
    assert_eq!(stack.store.try_claim(&claim(&none, 1)).await.unwrap(), None);
    let got = stack.store.try_claim(&claim(&files, 1)).await.unwrap().unwrap();
    assert_eq!(got.job.spec.loras().len(), 1);
    // No worker has both.
    let both = r#""loras":[{"path":"ink"}],"width":64,"height":64,"scheduler":"LCM""#;
    assert_eq!(
        refused(&stack, both).await,
        errors(&[
            ("scheduler", "No worker of this app offers this scheduler together with LoRAs"),
            ("loras", "No worker of this app offers LoRAs together with LCMScheduler"),
        ])
    );
}

#[tokio::test]
async fn the_error_names_only_what_no_worker_offers_together() {
    let no = "No worker of this app offers";
    let stack = with_features([
        &["long_prompt", "seeds", "no_image", "no_mask", "hires"],
        &["long_prompt", "seeds", "refiner", "no_image", "no_mask"],
    ])
    .await;
    // Both workers have `long_prompt` and `seeds`.
    let both = r#""long_prompt":true,"seeds":[1],"width":64,"height":64"#;
    assert_eq!(
        refused(&stack, &format!(r#"{both},"denoising_end":0.8,"scheduler":"DDIM""#)).await,
        errors(&[
            ("scheduler", &format!("{no} this scheduler together with a refiner")),
            ("denoising_end", &format!("{no} a refiner together with DDIMScheduler")),
        ])
    );
    // Each lacks one thing.
    let big = r#""long_prompt":true,"width":512,"height":512,"denoising_end":0.8"#;
    assert_eq!(
        refused(&stack, big).await,
        errors(&[
            ("width", "A picture with a refiner should have at most 65536 pixels, 512x512 has 262144"),
            ("denoising_end", &format!("{no} a refiner for a picture of 512x512")),
        ])
    );
}

#[tokio::test]
async fn a_picture_that_a_part_needs_is_named() {
    let stack = with_features([&["hires", "no_image", "no_mask"], &["refiner", "mask_required"]]).await;
    assert_eq!(
        refused(&stack, r#""denoising_end":0.8,"width":64,"height":64"#).await,
        errors(&[("denoising_end", "No worker of this app offers a refiner without an image and a mask")])
    );
}

#[tokio::test]
async fn the_error_says_what_to_start() {
    let stack = with_features([&["no_image", "no_mask"], &["no_image", "no_mask"]]).await;
    for (members, advice) in [
        (r#""denoising_end":0.8"#, "start a worker with --refiner"),
        (r#""aesthetic_score":7"#, "start a worker with --refiner"),
        (r#""negative_aesthetic_score":7"#, "start a worker with --refiner"),
        (r#""hires":{}"#, "update the workers"),
        (r#""long_prompt":true"#, "reads long_prompt: leave it out, or update the workers"),
    ] {
        let wrong = refused(&stack, members).await;
        assert!(wrong.len() == 1 && wrong[0].1.contains(advice), "{wrong:?}");
    }
    // All models need an image: none makes a second pass.
    let stack = with_features([&["mask_required"], &["no_mask", "image_required"]]).await;
    let wrong = refused(&stack, r#""hires":{}"#).await;
    assert!(wrong[0].1.contains("makes no second pass"), "{wrong:?}");
    assert_eq!(
        wrong[1],
        ("image".to_owned(), "Every worker of this app has a model that needs an image: add one".to_owned())
    );
}

#[tokio::test]
async fn a_worker_that_requires_a_picture_gets_no_job_without_one() {
    let stack = mixed().await;
    let [large, small] = workers();
    let with = |worker: &WorkerRecord, features: &[&str]| WorkerRecord {
        features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        ..worker.clone()
    };
    let inpainting = with(&large, &["image", "mask", "mask_required"]);
    let any = with(&small, &["image", "mask", "no_image", "no_mask"]);
    for worker in [&inpainting, &any] {
        stack.store.heartbeat(worker).await.unwrap();
    }
    let later = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    let plain = r#"{"app":"glimpse/demo","prompt":"a"}"#;
    assert_eq!(later.post("/v1/jobs", plain).await.status, 202);
    assert_eq!(later.store.try_claim(&claim(&inpainting, 1)).await.unwrap(), None);
    let got = later.store.try_claim(&claim(&any, 1)).await.unwrap().unwrap();
    assert_eq!(got.job.needs.words().count(), 2);
    // With inpainting workers alone, the request is wrong.
    stack.store.heartbeat(&with(&small, &["image", "mask", "mask_required"])).await.unwrap();
    let later = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    let answer = later.post("/v1/jobs", plain).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let fields: Vec<_> =
        answer.json()["detail"].as_array().unwrap().iter().map(|error| error["loc"][1].clone()).collect();
    assert_eq!(fields, ["image", "mask"]);
    // A worker of a release that does not say it may be sent anything.
    stack.store.heartbeat(&with(&small, &["image", "mask"])).await.unwrap();
    let later = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    assert_eq!(later.post("/v1/jobs", plain).await.status, 202);
}

#[tokio::test]
async fn the_error_names_valid_values() {
    let stack = mixed().await;
    let body = r#"{"app":"glimpse/demo","prompt":"a","width":512,"height":256,"scheduler":"LCM"}"#;
    let answer = stack.post("/v1/jobs", body).await.json();
    let detail: Vec<&Value> = answer["detail"].as_array().unwrap().iter().collect();
    assert_eq!(detail[0]["ctx"], json!({ "le": 256 * 256 }));
    assert_eq!(
        detail[0]["msg"],
        "A picture with LCMScheduler should have at most 65536 pixels, 512x256 has 131072"
    );
    assert_eq!(detail[1]["ctx"], json!({ "expected": ["DDIMScheduler"] }));
    assert_eq!(detail[1]["msg"], "No worker of this app offers this scheduler for a picture of 512x256");
}

#[tokio::test]
async fn a_job_goes_to_a_worker_that_is_capable_of_it() {
    let stack = mixed().await;
    let [large, small] = workers();
    let submit = async |body: &str| {
        let answer = stack.post("/v1/jobs", body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let ddim =
        submit(r#"{"app":"glimpse/demo","prompt":"a","width":512,"height":512,"scheduler":"DDIM"}"#).await;
    let any = submit(r#"{"app":"glimpse/demo","prompt":"a"}"#).await;
    let got = stack.store.try_claim(&claim(&small, 1)).await.unwrap().unwrap();
    assert_eq!(got.job.id.to_string(), any);
    assert_eq!(got.job.needs, Needs::new(128 * 128, []));
    assert_eq!(stack.store.try_claim(&claim(&small, 2)).await.unwrap(), None);
    let got = stack.store.try_claim(&claim(&large, 1)).await.unwrap().unwrap();
    assert_eq!(got.job.id.to_string(), ddim);
    assert_eq!(got.job.needs, Needs::new(512 * 512, [Word::scheduler("DDIMScheduler")]));
}

#[tokio::test]
async fn a_waiting_job_shows_that_no_worker_is_capable_of_it() {
    let stack = mixed().await;
    let [large, small] = workers();
    let body = r#"{"app":"glimpse/demo","prompt":"a","width":512,"height":512}"#;
    let id = stack.post("/v1/jobs", body).await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/jobs/{id}");
    assert_eq!(stack.get(&path).await.json()["workers"], 1);
    stack.clock.advance(Duration::from_secs(31));
    stack.store.heartbeat(&small).await.unwrap();
    // Another API has no cached list of it.
    let replica = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    assert_eq!(replica.get(&path).await.json()["workers"], 0);
    assert_eq!(stack.store.try_claim(&claim(&small, 1)).await.unwrap(), None);
    // The worker returns.
    stack.store.heartbeat(&WorkerRecord { state: WorkerState::Idle, ..large.clone() }).await.unwrap();
    let replica = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    let job = replica.get(&path).await.json();
    assert_eq!((&job["status"], &job["workers"]), (&json!("queued"), &json!(1)));
    assert!(stack.store.try_claim(&claim(&large, 1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_dead_job_that_no_worker_is_capable_of_stays_on_the_list() {
    let stack = mixed().await;
    let [large, small] = workers();
    let body = r#"{"app":"glimpse/demo","prompt":"a","width":512,"height":512}"#;
    let id = stack.post("/v1/jobs", body).await.json()["id"].as_str().unwrap().to_owned();
    for number in 1..=3 {
        let lease = stack.store.try_claim(&claim(&large, number)).await.unwrap().unwrap();
        stack.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    }
    stack.clock.advance(Duration::from_secs(61));
    stack.store.heartbeat(&small).await.unwrap();
    let replica = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    let answer = replica.post(&format!("/v1/dead/{id}/retry"), "").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    let dead = stack.store.dead(None).await.unwrap();
    assert_eq!((dead[0].id.to_string(), dead[0].code), (id, FailureCode::AttemptsExhausted));
}
