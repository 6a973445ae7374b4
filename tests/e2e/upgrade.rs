//! Today's programs go on with what the release before left in Redis: its jobs, events, checkpoints, webhooks, places and
//! dead jobs. `tests/releases` says how it was recorded.

use std::{collections::BTreeSet, time::Instant};

use glimpse_test_support::{
    RedisServer, WebhookAnswer, WebhookReceiver,
    recorded::{Recorded, has_all},
};
use serde_json::{Value, json};

use super::stack::{Process, SOON, Sse, client, json};

const PREVIOUS: &str = "0.1.0";

/// A client of one API.
struct Client {
    address: String,
    key: String,
}

impl Client {
    async fn get(&self, path: &str) -> (u16, String) {
        let answer =
            client().get(format!("{}{path}", self.address)).bearer_auth(&self.key).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn read(&self, path: &str) -> Value {
        let (status, text) = self.get(path).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {status} {text}: {error}"))
    }

    async fn post(&self, path: &str, body: &Value, idempotency_key: &str) -> (u16, Value) {
        let mut request = client().post(format!("{}{path}", self.address)).bearer_auth(&self.key).json(body);
        if !idempotency_key.is_empty() {
            request = request.header("Idempotency-Key", idempotency_key);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The state of a job that ends.
    async fn end(&self, id: &str) -> Value {
        let begun = Instant::now();
        loop {
            let state = self.read(&format!("/v1/jobs/{id}")).await;
            if !matches!(state["status"].as_str(), Some("queued" | "running")) {
                return state;
            }
            assert!(begun.elapsed() < SOON, "{state}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

async fn api(redis: &RedisServer, key: &str, flags: &[&str]) -> (Process, Client) {
    let url = redis.url();
    let own = ["--redis-url", &url, "--listen", "127.0.0.1:0", "--allow-private-webhooks"];
    let mut api = Process::start("glimpse-api", &[&own, flags].concat());
    let address = api.address().await;
    (api, Client { address, key: key.to_owned() })
}

/// What an API says of an ended job besides its times, which are moved when the record is restored.
fn without_times(answer: &Value) -> Value {
    let mut state = answer.clone();
    for name in ["created_at", "started_at", "finished_at"] {
        state.as_object_mut().unwrap().remove(name);
    }
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn todays_programs_go_on_with_what_the_release_before_left() {
    let (recorded, redis) = (Recorded::of(PREVIOUS), RedisServer::start());
    let receiver = WebhookReceiver::start(|_, _| WebhookAnswer::OK);
    recorded.restore(&redis, &receiver.url("/hook"));
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    std::fs::write(&keys, recorded.keys_file()).unwrap();
    let (_open_api, open) = api(&redis, "", &[]).await;
    let (_team_api, team) = api(&redis, recorded.key(), &["--keys-file", keys.to_str().unwrap()]).await;

    ended_jobs_are_readable(&recorded, &open, &team).await;
    places_count(&recorded, &team).await;
    let mut events = events(&recorded, &open).await;
    let workers = ["glimpse-worker", "scripted_worker"].map(|program| worker(&redis, program));
    let running = resumed(&recorded, &open, &mut events).await;

    for name in ["queued", "queued_with_needs_and_hook", "queued_low", "given_back"] {
        let end = open.end(recorded.job(name)).await;
        assert_eq!(end["status"], "completed", "{name}: {end}");
    }
    for name in ["team_queued", "team_queued_second", "team_queued_third"] {
        assert_eq!(team.end(recorded.job(name)).await["status"], "completed", "{name}");
    }
    // The same request, without a loss of its worker.
    let body = json!({ "app": "glimpse/demo", "prompt": "a mountain at night", "seed": 7, "width": 128, "height": 128,
        "num_inference_steps": 50, "preview_every": 0 });
    let (status, again) = open.post("/v1/jobs", &body, "").await;
    assert_eq!(status, 202, "{again}");
    let again = open.end(again["id"].as_str().unwrap()).await;
    assert_eq!(again["result"]["images"], running["result"]["images"], "a resumed job has the same pictures");

    the_same_key_finds_the_same_job(&recorded, &open).await;
    dead_jobs_are_retried(&recorded, &open).await;
    webhooks_are_called(&recorded, &receiver).await;
    drop(workers);
}

/// Every route answers as the release's own API did, or says more.
async fn ended_jobs_are_readable(recorded: &Recorded, open: &Client, team: &Client) {
    for (name, old) in recorded.answers() {
        let id = recorded.job(name);
        let client = if name.starts_with("team") { team } else { open };
        let state = client.read(&format!("/v1/jobs/{id}")).await;
        assert!(has_all(&state, &without_times(&old["state"])), "{name}: {state}");
        let (_, events) = client.get(&format!("/v1/jobs/{id}/events")).await;
        assert_eq!(events, old["events"].as_str().unwrap(), "{name}");
        let app = state["app"].as_str().unwrap();
        let (status, result) = client.get(&format!("/queue/{app}/requests/{id}")).await;
        let result: Value = serde_json::from_str(&result).unwrap();
        assert!(has_all(&json!([status, result]), &old["result"]), "{name}: {status} {result}");
        if state["status"] == "completed" {
            assert_eq!(client.get(&format!("/v1/jobs/{id}/image")).await.0, 200, "{name}");
        }
    }
    let ids = |list: &Value| -> BTreeSet<String> {
        list["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    for path in ["/v1/jobs", "/v1/dead"] {
        let (new, old) = (ids(&open.read(path).await), ids(recorded.list(path)));
        assert!(!old.is_empty() && new.is_superset(&old), "{path}: {new:?} without some of {old:?}");
    }
}

/// The tenant has as many unfinished jobs as it may.
async fn places_count(recorded: &Recorded, team: &Client) {
    let body =
        json!({ "app": "glimpse/demo", "prompt": "one too many", "seed": 7, "num_inference_steps": 4 });
    let (status, answer) = team.post("/v1/jobs", &body, "").await;
    assert_eq!(status, 429, "{answer}");
    assert_eq!(team.read(&format!("/v1/jobs/{}", recorded.job("team_queued"))).await["status"], "queued");
}

fn worker(redis: &RedisServer, program: &str) -> Process {
    let url = redis.url();
    let args: &[&str] = match program {
        "glimpse-worker" => &["--model", "models/demo", "--device", "cpu", "--app", "glimpse/demo"],
        _ => &["--app", "chaos/scripted"],
    };
    Process::start(program, &[&["--redis-url", &url], args].concat())
}

/// The events of the job whose worker was killed.
async fn events(recorded: &Recorded, open: &Client) -> Sse {
    let path = format!("{}/v1/jobs/{}/events", open.address, recorded.job("running"));
    Sse::open(client().get(path)).await
}

/// The job whose worker was killed goes on from its checkpoint, and its events go on too. Returns its end.
async fn resumed(recorded: &Recorded, open: &Client, events: &mut Sse) -> Value {
    let mut steps = Vec::new();
    let mut attempts = Vec::new();
    while let Some(event) = events.next().await {
        let data = json(&event);
        match data["type"].as_str().unwrap() {
            "started" => attempts.push(data["attempt"].clone()),
            "preview" if data["attempt"] == 2 => steps.push(data["step"].as_u64().unwrap()),
            _ => {}
        }
    }
    assert_eq!(attempts, [json!(1), json!(2)]);
    assert!(steps[0] > 0, "it began again at step 0: {steps:?}");
    open.end(recorded.job("running")).await
}

async fn the_same_key_finds_the_same_job(recorded: &Recorded, open: &Client) {
    let body = json!({ "app": "glimpse/demo", "prompt": "a blue circle", "seed": 7, "width": 64, "height": 64,
        "num_inference_steps": 4, "preview_every": 1 });
    let (status, answer) = open.post("/v1/jobs", &body, "recorded").await;
    assert_eq!((status, &answer["id"]), (200, &json!(recorded.job("completed_by_key"))), "{answer}");
}

async fn dead_jobs_are_retried(recorded: &Recorded, open: &Client) {
    let dead = recorded.job("dead");
    let (status, answer) = open.post(&format!("/v1/dead/{dead}/retry"), &json!({}), "").await;
    assert_eq!(status, 202, "{answer}");
    let end = open.end(answer["id"].as_str().unwrap()).await;
    assert_eq!(
        (&end["retry_of"], &end["error"]["code"]),
        (&json!(dead), &json!("attempts_exhausted")),
        "{end}"
    );
}

/// That of the job that ended in the release before, and that of a job that ended now.
async fn webhooks_are_called(recorded: &Recorded, receiver: &WebhookReceiver) {
    let expected = ["hook_due", "queued_with_needs_and_hook"].map(|name| recorded.job(name).to_owned());
    let begun = Instant::now();
    loop {
        let called: BTreeSet<_> =
            receiver.calls().iter().map(|call| call.header("webhook-id").to_owned()).collect();
        if called == expected.clone().into() {
            return;
        }
        assert!(begun.elapsed() < SOON, "{called:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
