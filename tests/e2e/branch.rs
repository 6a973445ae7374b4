//! Jobs that go on from others, and jobs that finish early, with the demo's model.

use super::stack::{Process, Sse, client, json as data};
use serde_json::{Value, json};

async fn serve() -> (Process, String) {
    let mut process = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = process.address().await;
    (process, address)
}

async fn submit(address: &str, members: Value) -> String {
    let mut body = json!({ "app": "glimpse/demo", "prompt": "a red heart", "seed": 7, "preview_every": 1 });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let answer = client().post(format!("{address}/v1/jobs")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

/// The end of a job, which must be its pictures.
async fn end(address: &str, id: &str) -> Value {
    let events = Sse::open(client().get(format!("{address}/v1/jobs/{id}/events"))).await.rest().await;
    let end = data(events.last().unwrap());
    assert_eq!(end["type"], "completed", "{end}");
    end
}

/// The pixels of the pictures of an ended job: what its files carry besides does not count.
fn pixels(end: &Value) -> Vec<image::RgbImage> {
    let pictures = end["images"].as_array().unwrap();
    pictures.iter().map(|picture| super::stack::picture(&picture["url"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_without_changes_is_the_same_picture_and_one_with_another_prompt_is_not() {
    let (_process, address) = serve().await;
    let old =
        submit(&address, json!({ "num_inference_steps": 8, "scheduler": "EulerAncestralDiscreteScheduler" }))
            .await;
    let whole = pixels(&end(&address, &old).await);
    let same = submit(&address, json!({ "from": { "job": old, "step": 3 } })).await;
    assert_eq!(pixels(&end(&address, &same).await), whole);
    let again = submit(&address, json!({ "from": { "job": same, "step": 5 } })).await;
    assert_eq!(pixels(&end(&address, &again).await), whole, "a branch of a branch");
    let other = json!({ "prompt": "a green circle", "from": { "job": old, "step": 1 } });
    let other = submit(&address, other).await;
    assert_ne!(pixels(&end(&address, &other).await), whole);
    let longer = json!({ "num_inference_steps": 16, "scheduler": "EulerDiscreteScheduler",
        "from": { "job": other, "step": 3 } });
    end(&address, &submit(&address, longer).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_finished_early_is_made_again_by_its_step() {
    let (_process, address) = serve().await;
    let members = json!({ "num_inference_steps": 50, "num_images": 4 });
    let id = submit(&address, members.clone()).await;
    let mut events = Sse::open(client().get(format!("{address}/v1/jobs/{id}/events"))).await;
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "preview") {
        kinds.push(data(&events.next().await.unwrap())["type"].as_str().unwrap().to_owned());
    }
    let finish = client().post(format!("{address}/v1/jobs/{id}/finish")).send().await.unwrap();
    assert_eq!(finish.status(), 202);
    let early = end(&address, &id).await;
    let step = early["finished_at_step"].as_u64().unwrap();
    assert!(step < 49, "{step}");
    let mut again = members;
    again["finish_at_step"] = json!(step);
    let again = end(&address, &submit(&address, again).await).await;
    assert_eq!((&again["finished_at_step"], pixels(&again)), (&json!(step), pixels(&early)));
}
