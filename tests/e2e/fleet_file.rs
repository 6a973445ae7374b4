//! `glimpse serve --fleet`: several apps in one process, and the hook that sees their pictures.

use std::{io::Write, time::Duration};

use glimpse_test_support::{WebhookAnswer, WebhookReceiver};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::stack::{Process, SOON, client};

#[cfg(test)]
fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[cfg(test)]
fn start(fleet: &NamedTempFile, more: &[&str]) -> Process {
    let path = fleet.path().to_str().unwrap();
    Process::start("glimpse", &[&["serve", "--listen", "127.0.0.1:0", "--fleet", path], more].concat())
}

const TWO: &str = r#"
[[app]]
name = "glimpse/busy"
model = "models/demo"

[[app]]
name = "glimpse/free"
model = "models/demo"
max_pixels = 16384
"#;

async fn get(address: &str, path: &str) -> Value {
    client().get(format!("{address}{path}")).send().await.unwrap().json().await.unwrap()
}

#[cfg(test)]
fn ids(list: &Value, of: &str, id: &str) -> Vec<String> {
    list[of].as_array().unwrap().iter().map(|one| one[id].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_served_while_another_has_a_long_queue() {
    let fleet = file(TWO);
    let mut process = start(&fleet, &["--max-pixels", "262144", "--drain-grace", "0"]);
    let address = process.address().await;
    assert_eq!(ids(&get(&address, "/v1/models").await, "data", "id"), ["glimpse/busy", "glimpse/free"]);
    let apps = get(&address, "/v1/apps").await;
    assert_eq!(ids(&apps, "apps", "app"), ["glimpse/busy", "glimpse/free"]);
    let most = |at: usize| apps["apps"][at]["max_pixels"].as_u64();
    assert_eq!((most(0), most(1)), (Some(262_144), Some(16_384)));
    let workers = get(&address, "/v1/workers").await;
    assert_eq!(workers["workers"].as_array().map(Vec::len), Some(2), "{workers}");

    for _ in 0..8 {
        let body = json!({ "app": "glimpse/busy", "prompt": "a red heart", "num_inference_steps": 50,
            "width": 512, "height": 512 });
        let submitted = client().post(format!("{address}/v1/jobs")).json(&body).send().await.unwrap();
        assert_eq!(submitted.status(), 202);
    }
    let body = json!({ "model": "glimpse/free", "prompt": "a red heart", "num_inference_steps": 1 });
    let made = client().post(format!("{address}/v1/images/generations")).json(&body).send().await.unwrap();
    assert_eq!(made.status(), 200);
    let apps = get(&address, "/v1/apps").await;
    assert!(apps["apps"][0]["waiting"].as_u64().unwrap() >= 6, "{apps}");
    assert_eq!(apps["apps"][1]["waiting"], 0);

    // Both workers end, the busy one too.
    process.signal("TERM");
    assert!(process.exit(Duration::from_secs(20)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_cannot_be_served_stops_the_start() {
    let missing = file(&TWO.replacen("models/demo", "no/such/model", 1));
    let unknown = file(&TWO.replace("max_pixels", "max_pixel"));
    for (fleet, more, said) in [
        (&missing, &[][..], &["app glimpse/busy", "no/such/model"][..]),
        (&unknown, &[], &["line 9", "max_pixel"]),
        (&missing, &["--app", "glimpse/demo"], &["--fleet", "--app"]),
        (&missing, &["--model", "models/demo"], &["--fleet", "--model"]),
    ] {
        let mut process = start(fleet, more);
        assert_eq!(process.exit(SOON).await.code(), Some(2), "{}", process.log());
        assert!(said.iter().all(|said| process.log().contains(said)), "{said:?}: {}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_the_pictures_first() {
    let receiver = WebhookReceiver::start(|_, call| {
        let verdict = match call.json()["app"].as_str().unwrap() {
            "glimpse/strict" => json!({ "allowed": false, "reason": "Not in this house" }),
            _ => json!({ "allowed": true }),
        };
        WebhookAnswer::Body(verdict.to_string())
    });
    let fleet =
        file(&TWO.replace("glimpse/busy", "glimpse/strict").replace("glimpse/free", "glimpse/lenient"));
    let mut process = start(&fleet, &["--picture-hook-url", &receiver.url("/check")]);
    let address = process.address().await;
    let made = async |app: &str, stream: bool| {
        let body = json!({ "model": app, "prompt": "a red heart", "num_inference_steps": 4, "stream": stream,
            "partial_images": if stream { 2 } else { 0 } });
        client().post(format!("{address}/v1/images/generations")).json(&body).send().await.unwrap()
    };
    let refused = made("glimpse/strict", false).await;
    assert_eq!(refused.status(), 400);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["code"], "content_policy_violation", "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("Not in this house"));
    // The picture has been seen, so it may be shown; the pictures before it were not.
    let stream = made("glimpse/lenient", true).await.text().await.unwrap();
    assert!(stream.contains("image_generation.completed"), "{stream}");
    assert!(!stream.contains("partial_image"), "{stream}");
    assert_eq!(receiver.calls().len(), 2);
}
