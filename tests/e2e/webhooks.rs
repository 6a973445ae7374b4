//! Webhooks of real processes: one that is killed in the middle of a call, and one that is started again.

use std::time::{Duration, Instant};

use super::stack::{Process, SOON, client};
use glimpse_test_support::{RedisServer, WebhookAnswer, WebhookCall, WebhookReceiver};
use serde_json::{Value, json};

/// How long a try is leased, and the time for another API to see it.
const TAKEN_OVER: Duration = Duration::from_secs(50);

async fn api(redis: &RedisServer) -> (Process, String) {
    let url = redis.url();
    let args = ["--redis-url", &url, "--listen", "127.0.0.1:0", "--allow-private-webhooks"];
    let mut api = Process::start("glimpse-api", &args);
    let address = api.address().await;
    (api, address)
}

async fn get(url: String) -> Value {
    client().get(url).send().await.unwrap().json().await.unwrap()
}

/// Submits a job as soon as the app is served.
async fn submit(address: &str, webhook: &str) -> String {
    let body = json!({ "app": "glimpse/demo", "prompt": "a red heart on a white background", "seed": 1,
        "num_inference_steps": 6, "webhook": webhook });
    let begun = Instant::now();
    loop {
        let answer = client().post(format!("{address}/v1/jobs")).json(&body).send().await.unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        if status == 202 {
            return answer["id"].as_str().unwrap().to_owned();
        }
        assert!(begun.elapsed() < SOON, "{status}: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn calls(receiver: &WebhookReceiver, count: usize, within: Duration) -> Vec<WebhookCall> {
    let begun = Instant::now();
    while receiver.calls().len() < count {
        assert!(begun.elapsed() < within, "{} calls instead of {count}", receiver.calls().len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    receiver.calls()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_outlives_a_kill_of_its_caller() {
    let receiver = WebhookReceiver::start(|number, _| match number {
        0 => WebhookAnswer::Silence,
        _ => WebhookAnswer::OK,
    });
    let redis = RedisServer::start();
    let url = redis.url();
    let args = ["--redis-url", &url, "--model", "models/demo", "--app", "glimpse/demo", "--device", "cpu"];
    let _worker = Process::start("glimpse-worker", &args);
    let (mut killed, address) = api(&redis).await;
    let id = submit(&address, &receiver.url("/hook")).await;
    calls(&receiver, 1, SOON).await;
    let keys = get(format!("{address}/.well-known/jwks.json")).await;
    killed.signal("KILL");
    killed.exit(SOON).await;

    let (_api, address) = api(&redis).await;
    let calls = calls(&receiver, 2, TAKEN_OVER).await;
    for call in &calls {
        assert_eq!((call.header("webhook-id"), &call.json()["id"]), (&*id, &json!(id)));
    }
    assert_eq!(calls[0].body, calls[1].body);
    assert_ne!(calls[0].header("webhook-timestamp"), calls[1].header("webhook-timestamp"));
    assert_eq!(get(format!("{address}/.well-known/jwks.json")).await, keys);
    assert_eq!(get(format!("{address}/v1/jobs/{id}")).await, calls[1].json());
}
