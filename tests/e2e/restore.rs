//! A backup of Redis: the fleet goes on with an older copy of its data.

use std::time::{Duration, Instant};

use glimpse_test_support::RedisServer;
use serde_json::{Value, json};

use super::stack::{Process, SOON, Sse, client, json as data};

struct Api {
    address: String,
}

impl Api {
    /// The status and the body of an answer, as soon as Redis answers.
    async fn ask(&self, request: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder) -> (u16, Value) {
        let begun = Instant::now();
        loop {
            let answer = request(&client()).send().await.unwrap();
            let status = answer.status().as_u16();
            if status != 503 {
                return (status, answer.json().await.unwrap());
            }
            assert!(begun.elapsed() < SOON, "{status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn submit(&self, prompt: &str, key: &str) -> String {
        let body = json!({ "app": "chaos/scripted", "prompt": prompt, "seed": 7, "num_inference_steps": 4 });
        let url = format!("{}/v1/jobs", self.address);
        let begun = Instant::now();
        loop {
            let (status, answer) =
                self.ask(|http| http.post(&url).header("Idempotency-Key", key).json(&body)).await;
            if let Some(id) = answer["id"].as_str() {
                return id.to_owned();
            }
            // The worker has not registered yet.
            assert!(status == 404 && begun.elapsed() < SOON, "{status}: {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn job(&self, id: &str) -> (u16, Value) {
        self.ask(|http| http.get(format!("{}/v1/jobs/{id}", self.address))).await
    }

    async fn events(&self, id: &str) -> Sse {
        Sse::open(client().get(format!("{}/v1/jobs/{id}/events", self.address))).await
    }

    async fn until(&self, id: &str, status: &str) -> Value {
        let begun = Instant::now();
        loop {
            let (_, state) = self.job(id).await;
            if state["status"] == status {
                return state;
            }
            assert!(begun.elapsed() < SOON, "{state}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_goes_on_with_an_older_copy_of_redis() {
    let mut redis = RedisServer::start_with(&[]);
    let url = redis.url();
    let worker = Process::start("scripted_worker", &["--redis-url", &url, "--app", "chaos/scripted"]);
    let mut api = Process::start("glimpse-api", &["--redis-url", &url, "--listen", "127.0.0.1:0"]);
    let api = Api { address: api.address().await };

    // In the copy the first job runs, and the second one waits.
    let ran = api.submit("pace=300", "first").await;
    api.until(&ran, "running").await;
    let waited = api.submit("pace=1", "second").await;
    let copy = redis.copy();
    let before = api.until(&ran, "completed").await;
    api.until(&waited, "completed").await;
    let lost = api.submit("pace=2000", "third").await;
    let mut of_lost = api.events(&lost).await;
    api.until(&lost, "running").await;

    redis.restore(&copy);
    let mut last = None;
    while let Some(event) = of_lost.next().await {
        last = Some(data(&event));
    }
    assert_eq!(last.unwrap()["code"], "job_lost");
    assert_eq!(api.job(&lost).await.0, 404);
    // Its worker was told that it is lost, or it would not take the others.
    let again = api.until(&ran, "completed").await;
    assert_eq!(again["result"], before["result"], "the same pictures");
    assert_eq!(again["attempt"], 2, "{again}");
    api.until(&waited, "completed").await;
    assert_eq!(api.submit("pace=300", "first").await, ran, "the copy has the secret of the ids");
    drop(worker);
}
