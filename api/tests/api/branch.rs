//! `from` of a submit: a job goes on from another one, or from a recipe.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::{
    event::{CancelledBy, Image, Timings},
    job::WorkerRecord,
    request::{Branch, InputPictures},
    store::{Claim, Ending, Lease},
};
use serde_json::{Value, json};

use crate::{
    pictures::png,
    recipe,
    support::{Answer, Stack, demo, picture, record},
};

fn uri(width: u32, height: u32) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png(width, height)))
}

/// Submits a request to the demo's app.
async fn submit(stack: &Stack, members: Value) -> Answer {
    let mut body = json!({ "app": "glimpse/demo", "prompt": "a fox" });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    stack.post("/v1/jobs", &body.to_string()).await
}

async fn accepted(stack: &Stack, members: Value) -> Lease {
    let answer = submit(stack, members).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    newest(stack, &answer).await
}

/// The lease of the job that was just submitted.
async fn newest(stack: &Stack, answer: &Answer) -> Lease {
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let mut worker = stack.worker();
    loop {
        let lease = worker.claim().await;
        if lease.job.id.to_string() == id {
            return lease;
        }
    }
}

/// A completed job of 10 steps with these members, and its id.
async fn completed(stack: &Stack, members: Value) -> String {
    let mut all = json!({ "num_inference_steps": 10, "seed": 7, "preview_every": 1 });
    all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let lease = accepted(stack, all).await;
    let id = lease.job.id.to_string();
    stack.worker().complete(lease).await;
    id
}

/// The status and the error's location and kind.
fn refused(answer: &Answer) -> (u16, String, String) {
    let error = &answer.json()["detail"][0];
    let path: Vec<_> = error["loc"].as_array().unwrap().iter().map(ToString::to_string).collect();
    (answer.status, path.join("/").replace('"', ""), error["type"].as_str().unwrap().to_owned())
}

fn is(status: u16, path: &str, kind: &str) -> (u16, String, String) {
    (status, path.to_owned(), kind.to_owned())
}

#[tokio::test]
async fn a_job_goes_on_from_what_another_one_had_after_a_step() {
    let stack = Stack::start().await;
    let old = json!({ "prompt": "a heart", "negative_prompt": "fog", "guidance_scale": 4.0, "width": 256, "height": 128,
        "scheduler": "EulerDiscreteScheduler", "preview_source": "denoised", "output_format": "png" });
    let id = completed(&stack, old).await;
    let lease = accepted(&stack, json!({ "from": { "job": id, "step": 4 }, "guidance_scale": 7.0 })).await;
    let spec = &lease.job.spec;
    assert_eq!((spec.prompt(), spec.negative_prompt(), spec.guidance_scale()), ("a fox", "fog", 7.0));
    assert_eq!((spec.width(), spec.height(), spec.seed(), spec.num_inference_steps()), (256, 128, 7, 10));
    assert_eq!((spec.preview_every(), spec.steps_to_take()), (1, 10));
    let branch = spec.branch().unwrap();
    assert_eq!((branch.step(), branch.request().prompt()), (4, "a heart"));
    assert_eq!(branch.request().guidance_scale(), 4.0);
    assert!(lease.job.needs.to_string().contains("feature:from"), "{}", lease.job.needs);
    // Nothing refers to the other job.
    assert!(!serde_json::to_string(&lease.job).unwrap().contains(&id));
}

#[tokio::test]
async fn branches_of_branches_nest_and_their_depth_is_bounded() {
    let stack = Stack::start().await;
    let mut id = completed(&stack, json!({ "prompt": "0" })).await;
    for depth in 1..=8_usize {
        let answer =
            submit(&stack, json!({ "prompt": depth.to_string(), "from": { "job": id, "step": depth - 1 } }))
                .await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let lease = newest(&stack, &answer).await;
        let prompts: Vec<_> =
            lease.job.spec.branches().map(|branch| branch.request().prompt().to_owned()).collect();
        assert_eq!(prompts, (0..depth).rev().map(|at| at.to_string()).collect::<Vec<_>>());
        id = lease.job.id.to_string();
        stack.worker().complete(lease).await;
    }
    let deep = submit(&stack, json!({ "from": { "job": id, "step": 8 } })).await;
    assert_eq!(refused(&deep), is(422, "body/from", "too_many_branches"));
    // A step before the last branch was made by an earlier request.
    let lease = accepted(&stack, json!({ "from": { "job": id, "step": 2 } })).await;
    let made: Vec<_> = lease.job.spec.branches().map(|one| (one.request().prompt(), one.step())).collect();
    assert_eq!(made, [("2", 2), ("1", 1), ("0", 0)]);
}

#[tokio::test]
async fn a_recipe_stands_for_the_job() {
    let stack = Stack::start().await;
    let id = completed(&stack, json!({ "prompt": "a heart", "scheduler": "EulerDiscreteScheduler" })).await;
    let by_job = accepted(&stack, json!({ "from": { "job": id, "step": 3 } })).await.job;
    let old = stack.store.job(id.parse().unwrap()).await.unwrap().unwrap();
    let recipe = json!({ "version": 1, "request": old.spec.to_request(InputPictures::Digests), "glimpse": "9.9",
        "model": { "name": "demo" }, "later": true });
    let members = json!({ "from": { "recipe": recipe, "step": 3 }, "preview_every": 1 });
    assert_eq!(accepted(&stack, members).await.job.spec, by_job.spec);
    // The recipe of the branch gives the branch again.
    let again = by_job.spec.to_request(InputPictures::Digests);
    let mut members = json!({ "preview_every": 1 });
    members.as_object_mut().unwrap().extend(again);
    assert_eq!(accepted(&stack, members).await.job.spec, by_job.spec);
    for (wrong, path, kind) in [
        (json!(7), "body/from", "model_attributes_type"),
        (json!({ "step": 1 }), "body/from/recipe", "missing"),
        (json!({ "recipe": recipe }), "body/from/step", "missing"),
        (json!({ "recipe": recipe, "step": -1 }), "body/from/step", "greater_than_equal"),
        (json!({ "recipe": { "version": 2, "request": {} }, "step": 1 }), "body/from/recipe", "recipe"),
        (json!({ "recipe": { "version": 1 }, "step": 1 }), "body/from/recipe", "recipe"),
        (json!({ "recipe": recipe, "step": 1, "other": 1 }), "body/from/other", "extra_forbidden"),
        (json!({ "recipe": recipe, "job": id, "step": 1 }), "body/from/recipe", "excluded"),
        (
            json!({ "recipe": { "version": 1, "request": { "prompt": "x", "width": 7 } }, "step": 1 }),
            "body/width",
            "greater_than_equal",
        ),
        (json!({ "job": 7, "step": 1 }), "body/from/job", "string_type"),
        (json!({ "job": id, "step": "1" }), "body/from/step", "int_type"),
        (json!({ "job": id }), "body/from/step", "missing"),
    ] {
        let answer = submit(&stack, json!({ "from": wrong.clone() })).await;
        assert_eq!(refused(&answer), is(422, path, kind), "{wrong}");
    }
}

#[tokio::test]
async fn a_branch_is_refused_where_it_cannot_be() {
    let stack = Stack::start().await;
    let id = completed(&stack, json!({ "prompt": "a heart", "num_images": 2 })).await;
    for (members, field) in [
        (json!({ "width": 256 }), "width"),
        (json!({ "height": 256 }), "height"),
        (json!({ "num_images": 1 }), "num_images"),
        (json!({ "seeds": [1, 2] }), "seeds"),
        (json!({ "loras": [{ "path": "ink" }] }), "loras"),
        (json!({ "embeddings": [{ "path": "x" }] }), "embeddings"),
        (json!({ "hires": {} }), "hires"),
        (json!({ "denoising_end": 0.5 }), "denoising_end"),
        (json!({ "image": uri(8, 8), "strength": 0.5 }), "image"),
        (json!({ "controlnets": [{ "path": "edges", "image": uri(8, 8) }] }), "controlnets"),
    ] {
        let mut all = json!({ "from": { "job": id, "step": 3 } });
        all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let answer = submit(&stack, all).await;
        assert_eq!(refused(&answer), is(422, &format!("body/{field}"), "unchangeable"), "{}", answer.text());
    }
    let last = submit(&stack, json!({ "from": { "job": id, "step": 9 } })).await;
    assert_eq!(refused(&last), is(422, "body/from/step", "no_step_left"));
    let other =
        json!({ "app": "glimpse/other", "prompt": "x", "from": { "job": id, "step": 3 } }).to_string();
    stack.store.heartbeat(&record("other", &"glimpse/other".parse().unwrap())).await.unwrap();
    assert_eq!(refused(&stack.post("/v1/jobs", &other).await), is(422, "body/app", "unchangeable"));
    // A prompt is required as always.
    let without = json!({ "app": "glimpse/demo", "from": { "job": id, "step": 3 } }).to_string();
    assert_eq!(refused(&stack.post("/v1/jobs", &without).await), is(422, "body/prompt", "missing"));
}

#[tokio::test]
async fn the_middle_of_a_step_of_two_calls_keeps_its_sampler() {
    let stack = Stack::start().await;
    let schedulers = ["EulerDiscreteScheduler", "HeunDiscreteScheduler"].map(str::to_owned).to_vec();
    let record = WorkerRecord { schedulers, ..record("one", &demo()) };
    stack.store.heartbeat(&record).await.unwrap();
    let old = json!({ "scheduler": "HeunDiscreteScheduler", "num_inference_steps": 10 });
    let id = submit(&stack, old).await.json()["id"].as_str().unwrap().to_owned();
    let (worker, capabilities) = (record.id.clone(), record.capabilities());
    let claim = Claim { worker, app: demo(), affinity: None, capabilities, number: 1 };
    let lease = stack.store.try_claim(&claim).await.unwrap().unwrap();
    stack.worker().complete(lease).await;
    for (members, field) in [
        (json!({ "scheduler": "EulerDiscreteScheduler" }), "scheduler"),
        (json!({ "num_inference_steps": 12 }), "num_inference_steps"),
    ] {
        for (step, status) in [(2, 422), (3, 202)] {
            let mut all = json!({ "from": { "job": id, "step": step } });
            all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            let answer = submit(&stack, all).await;
            assert_eq!(answer.status, status, "{}", answer.text());
            if status == 422 {
                assert_eq!(refused(&answer), is(422, &format!("body/{field}"), "mid_step"));
            }
        }
    }
    assert_eq!(submit(&stack, json!({ "from": { "job": id, "step": 2 } })).await.status, 202);
}

#[tokio::test]
async fn a_step_that_the_other_job_did_not_make_is_409() {
    let stack = Stack::start().await;
    let queued = stack.submit("a heart").await;
    let from = |id: &str, step: u32| json!({ "from": { "job": id, "step": step } });
    let is_409 = is(409, "body/from/step", "step_not_reached");
    let id = queued.to_string();
    assert_eq!(refused(&submit(&stack, from(&id, 0)).await), is_409);
    let mut worker = stack.worker();
    let mut lease = worker.claim().await;
    worker.preview(&mut lease, 5).await;
    assert_eq!(refused(&submit(&stack, from(&id, 6)).await), is_409);
    assert_eq!(submit(&stack, from(&id, 5)).await.status, 202, "the job goes on meanwhile");
    stack.store.cancel(queued, CancelledBy::Client).await.unwrap();
    assert_eq!(submit(&stack, from(&id, 5)).await.status, 202, "a cancelled job has made steps too");
    assert_eq!(refused(&submit(&stack, from(&id, 6)).await), is_409);
    // One that was finished early.
    let mut lease = accepted(&stack, json!({ "prompt": "a heart" })).await;
    let (early, timings) = (lease.job.id.to_string(), Timings { inference: 1.0, decode: 1.0 });
    let ending = Ending::completed_at(Some(7), vec![picture("x")], (7, Vec::new()), timings, Vec::new());
    stack.store.finish(&mut lease, &ending).await.unwrap();
    assert_eq!(submit(&stack, from(&early, 7)).await.status, 202);
    assert_eq!(refused(&submit(&stack, from(&early, 8)).await), is_409);
    // And by its recipe.
    let request = lease.job.spec.to_request(InputPictures::Digests);
    let recipe = json!({ "version": 1, "request": request, "finished_at_step": 7 });
    let answer = submit(&stack, json!({ "from": { "recipe": recipe, "step": 8 } })).await;
    assert_eq!(refused(&answer), is_409);
    // More steps than it ever had.
    let whole = completed(&stack, json!({ "scheduler": "EulerDiscreteScheduler" })).await;
    assert_eq!(refused(&submit(&stack, from(&whole, 40)).await), is_409);
}

#[tokio::test]
async fn a_job_that_is_unknown_is_404_and_a_lora_that_is_gone_409() {
    let stack = Stack::start().await;
    for id in ["01938c00-0000-7000-8000-000000000007", "nothing"] {
        let answer = submit(&stack, json!({ "from": { "job": id, "step": 1 } })).await;
        assert_eq!(refused(&answer), is(404, "body/from/job", "job_unknown"));
    }
    let id = completed(&stack, json!({ "loras": [{ "path": "ink" }] })).await;
    let from = json!({ "from": { "job": id, "step": 3 } });
    assert_eq!(submit(&stack, from.clone()).await.status, 202);
    stack.store.heartbeat(&WorkerRecord { loras: Vec::new(), ..record("one", &demo()) }).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    tokio::time::resume();
    assert_eq!(refused(&submit(&stack, from).await), is(409, "body/loras/0/path", "lora_gone"));
}

#[tokio::test]
async fn a_model_that_is_gone_is_409() {
    let stack = Stack::start().await;
    let has = |name: &str, digit: &str| WorkerRecord {
        model: Some(recipe::model(name, digit)),
        ..record("one", &demo())
    };
    stack.store.heartbeat(&has("sdxl", "a")).await.unwrap();
    // The end of a job whose picture says the model.
    let mut lease = accepted(&stack, json!({ "num_inference_steps": 10, "seed": 7 })).await;
    let (id, timings) = (lease.job.id.to_string(), Timings { inference: 1.0, decode: 1.0 });
    let made = json!({ "version": 1, "request": {}, "model": recipe::model("sdxl", "a") });
    let image = Image::new("image/png", 1, 1, &recipe::picture(Some(&made), ""));
    let ending = Ending::completed_at(None, vec![image], (7, Vec::new()), timings, Vec::new());
    stack.store.finish(&mut lease, &ending).await.unwrap();
    let request = lease.job.spec.to_request(InputPictures::Digests);
    let recipe = json!({ "version": 1, "request": request, "model": recipe::model("sdxl", "a") });
    let of_job = json!({ "from": { "job": id, "step": 3 } });
    let of_recipe = json!({ "from": { "recipe": recipe, "step": 3 } });
    for from in [&of_job, &of_recipe] {
        let answer = submit(&stack, from.clone()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    stack.store.heartbeat(&has("another", "b")).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    tokio::time::resume();
    let answer = submit(&stack, of_job).await;
    assert_eq!(refused(&answer), is(409, "body/from/job", "model_gone"));
    let answer = submit(&stack, of_recipe).await;
    assert_eq!(refused(&answer), is(409, "body/from/recipe", "model_gone"));
}

#[tokio::test]
async fn a_branch_of_a_picture_has_the_picture_of_the_other_job() {
    let stack = Stack::start().await;
    let id = completed(&stack, json!({ "image": uri(64, 64), "mask": uri(64, 64), "strength": 0.8 })).await;
    let lease = accepted(&stack, json!({ "from": { "job": id, "step": 3 } })).await;
    let spec = &lease.job.spec;
    let old = stack.store.job(id.parse().unwrap()).await.unwrap().unwrap().spec;
    assert_eq!((spec.image(), spec.mask(), spec.strength()), (old.image(), old.mask(), 0.8));
    assert_eq!(spec.branch().map(Branch::request).unwrap().image(), None, "it is stored once");
    for (members, field) in [
        (json!({ "strength": 0.5 }), "strength"),
        (json!({ "image": uri(64, 72) }), "image"),
        (json!({ "mask": uri(64, 72) }), "mask"),
    ] {
        let mut all = json!({ "from": { "job": id, "step": 3 } });
        all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        assert_eq!(refused(&submit(&stack, all).await), is(422, &format!("body/{field}"), "unchangeable"));
    }
    // A recipe only names its pictures.
    let recipe = json!({ "version": 1, "request": old.to_request(InputPictures::Digests) });
    let from = json!({ "recipe": recipe, "step": 3 });
    let answer = submit(&stack, json!({ "from": from })).await;
    assert_eq!(refused(&answer), is(422, "body/image", "missing"));
    let whole = json!({ "from": from, "image": uri(64, 64), "mask": uri(64, 64), "preview_every": 1 });
    assert_eq!(accepted(&stack, whole).await.job.spec, *spec);
}
