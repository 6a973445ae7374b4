//! A fleet of real processes around a real Redis: two APIs, two workers, and faults.

use std::{collections::BTreeSet, time::Duration};

use super::stack::{Process, SOON, Sse, client, json as data};
use futures::future::join_all;
use glimpse_test_support::RedisServer;
use serde_json::{Value, json};

/// Two APIs and two workers.
struct Fleet {
    redis: RedisServer,
    apis: Vec<Process>,
    addresses: Vec<String>,
    workers: Vec<Process>,
}

fn worker(redis: &RedisServer) -> Process {
    let url = redis.url();
    let args = ["--redis-url", &url, "--model", "models/demo", "--app", "glimpse/demo", "--device", "cpu"];
    Process::start("glimpse-worker", &[&args[..], &["--checkpoint-every", "0.2"]].concat())
}

impl Fleet {
    async fn start() -> Self {
        let redis = RedisServer::start();
        let mut apis = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..2 {
            let mut api =
                Process::start("glimpse-api", &["--redis-url", &redis.url(), "--listen", "127.0.0.1:0"]);
            addresses.push(api.address().await);
            apis.push(api);
        }
        let workers = vec![worker(&redis), worker(&redis)];
        let fleet = Self { redis, apis, addresses, workers };
        fleet.until_workers(2).await;
        fleet
    }

    async fn workers(&self) -> Vec<Value> {
        let url = format!("{}/v1/workers", self.addresses[0]);
        let answer: Value = client().get(url).send().await.unwrap().json().await.unwrap();
        answer["workers"].as_array().unwrap().clone()
    }

    /// Waits until the given number of workers can take jobs.
    async fn until_workers(&self, count: usize) {
        let begun = std::time::Instant::now();
        while self.workers().await.len() < count {
            assert!(begun.elapsed() < SOON, "the workers never came: {}", self.workers[0].log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn url(&self, api: usize, path: &str) -> String {
        format!("{}{path}", self.addresses[api])
    }

    /// Submits a job to the first API and returns its id.
    async fn submit(&self, body: Value) -> String {
        let answer = client().post(self.url(0, "/v1/jobs")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
        let answer: Value = answer.json().await.unwrap();
        answer["id"].as_str().unwrap().to_owned()
    }

    async fn follow(&self, api: usize, id: &str, after: Option<&str>) -> Sse {
        let mut request = client().get(self.url(api, &format!("/v1/jobs/{id}/events")));
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        Sse::open(request).await
    }

    /// The index in `workers` of the process with this id in `/v1/workers`: a worker logs its id when it is ready.
    fn process_of(&self, worker: &str) -> usize {
        self.workers.iter().position(|process| process.log().contains(worker)).expect("one of our workers")
    }
}

/// A picture that takes some seconds: long enough for a fault.
fn slow() -> Value {
    json!({ "app": "glimpse/demo", "prompt": "a red heart on a white background", "seed": 1,
        "num_inference_steps": 50, "width": 384, "height": 384, "preview_every": 2 })
}

fn quick(seed: u64) -> Value {
    json!({ "app": "glimpse/demo", "prompt": "a red heart on a white background", "seed": seed,
        "num_inference_steps": 6, "preview_every": 2 })
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_spread_and_any_api_serves_any_job() {
    let fleet = Fleet::start().await;
    let ids = join_all((0..8).map(|seed| fleet.submit(quick(seed)))).await;
    // Followed at the API that did not receive the submit.
    let logs = join_all(ids.iter().map(async |id| fleet.follow(1, id, None).await.rest().await)).await;
    let mut workers = BTreeSet::new();
    for log in &logs {
        let last = log.last().unwrap();
        assert_eq!(last.event, "completed");
        // A position that is told again has no number of its own.
        let numbered = log.iter().enumerate().filter(|(at, event)| *at == 0 || event.event != "queued");
        let seqs: Vec<u64> = numbered.map(|(_, event)| event.id.parse().unwrap()).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
        for event in log.iter().filter(|event| event.event == "started") {
            workers.insert(data(event)["worker"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(workers.len(), 2, "both workers had jobs");
    let listed: BTreeSet<_> =
        fleet.workers().await.iter().map(|worker| worker["id"].as_str().unwrap().to_owned()).collect();
    assert!(workers.is_subset(&listed));

    // Late followers receive only the end, with or without a cursor; with a cursor at the end they receive nothing.
    let (id, log) = (&ids[0], &logs[0]);
    let end = log.last().unwrap();
    for after in [None, Some("1")] {
        let late = fleet.follow(0, id, after).await.rest().await;
        assert_eq!(late.iter().map(|event| &event.id).collect::<Vec<_>>(), [&end.id]);
    }
    let request =
        client().get(fleet.url(0, &format!("/v1/jobs/{id}/events"))).header("Last-Event-ID", &end.id);
    assert_eq!(request.send().await.unwrap().status(), 204);
    let job: Value =
        client().get(fleet.url(1, &format!("/v1/jobs/{id}"))).send().await.unwrap().json().await.unwrap();
    assert_eq!((&job["status"], &job["result"]["seed"]), (&json!("completed"), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_moves_to_another_api_and_repeats_nothing() {
    let fleet = Fleet::start().await;
    let id = fleet.submit(slow()).await;
    let mut seen: Vec<u64> = Vec::new();
    let mut api = 0;
    'moves: loop {
        let after = seen.last().map(ToString::to_string);
        let mut stream = fleet.follow(api, &id, after.as_deref()).await;
        for _ in 0..4 {
            let Some(event) = stream.next().await else { break 'moves };
            seen.push(event.id.parse().unwrap());
            if event.event == "completed" {
                break 'moves;
            }
        }
        api = 1 - api;
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert!(seen.len() > 10, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_job_is_finished_by_the_other() {
    let mut fleet = Fleet::start().await;
    let body = slow();
    let request = client().post(fleet.url(0, "/glimpse/demo/stream")).json(&body);
    let mut stream = Sse::open(request).await;
    // Wait for some steps, so that there is a checkpoint to resume from.
    for _ in 0..6 {
        stream.next().await.expect("a preview");
    }
    let busy =
        fleet.workers().await.into_iter().find(|worker| worker["state"] == "busy").expect("a busy worker");
    let (id, at) = (stream.request_id.clone(), fleet.process_of(busy["id"].as_str().unwrap()));
    let native = fleet.follow(1, &id, None).await;
    fleet.workers[at].signal("KILL");
    fleet.workers[at].exit(SOON).await;

    // The fal stream stays open throughout and ends with the picture.
    let rest = stream.rest().await;
    assert_eq!(data(rest.last().unwrap())["seed"], 1);
    let log = native.rest().await;
    let kinds: Vec<&str> = log.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "started").count(), 2, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "completed").count(), 1);
    assert_eq!(kinds.last(), Some(&"completed"));
    let second = log.iter().rposition(|event| event.event == "started").unwrap();
    assert_eq!(data(&log[second])["attempt"], 2);
    assert_ne!(data(&log[second])["worker"], busy["id"]);
    let job: Value =
        client().get(fleet.url(1, &format!("/v1/jobs/{id}"))).send().await.unwrap().json().await.unwrap();
    assert_eq!(job["attempt"], 2);
    // It resumed where the first worker was, and the picture is the same as with one worker.
    let resumed = log[second..].iter().find(|event| event.event == "preview").expect("a preview");
    assert!(data(resumed)["step"].as_u64().unwrap() >= 4, "it started over");
    let undisturbed = client().post(fleet.url(0, "/glimpse/demo")).json(&body).send().await.unwrap();
    let undisturbed: Value = undisturbed.json().await.unwrap();
    assert!(data(rest.last().unwrap())["image"]["url"] == undisturbed["image"]["url"], "another picture");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_workers_job_goes_on_elsewhere_at_once() {
    let mut fleet = Fleet::start().await;
    fleet.workers.push(Process::start(
        "glimpse-worker",
        &[
            "--redis-url",
            &fleet.redis.url(),
            "--model",
            "models/demo",
            "--app",
            "glimpse/demo",
            "--drain-grace",
            "0",
        ],
    ));
    fleet.until_workers(3).await;
    // Three jobs keep three workers busy; the third worker drains.
    let ids = join_all((0..3).map(|_| fleet.submit(slow()))).await;
    let hasty = fleet.workers[2].log();
    let hasty =
        fleet.workers().await.into_iter().find(|worker| hasty.contains(worker["id"].as_str().unwrap()));
    let hasty = hasty.expect("the hasty worker")["id"].as_str().unwrap().to_owned();
    let begun = std::time::Instant::now();
    let id = 'found: loop {
        for id in &ids {
            let job = client().get(fleet.url(0, &format!("/v1/jobs/{id}"))).send().await.unwrap();
            let job: Value = job.json().await.unwrap();
            if job["worker"] == json!(hasty) && job["status"] == "running" {
                break 'found id.clone();
            }
        }
        assert!(begun.elapsed() < SOON, "it never had a job");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    fleet.workers[2].signal("TERM");
    assert!(fleet.workers[2].exit(Duration::from_secs(15)).await.success());
    // Another worker becomes idle and resumes the requeued job.
    let other = ids.iter().find(|other| **other != id).expect("another job");
    let cancelled = client().delete(fleet.url(0, &format!("/v1/jobs/{other}"))).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    let log = fleet.follow(1, &id, None).await.rest().await;
    assert_eq!(log.last().map(|event| event.event.as_str()), Some("completed"));
    for id in &ids {
        fleet.follow(0, id, None).await.rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_stops_and_starts_and_nothing_hangs() {
    let mut fleet = Fleet::start().await;
    let id = fleet.submit(slow()).await;
    let mut stream = fleet.follow(1, &id, None).await;
    while stream.next().await.expect("a preview").event != "preview" {}
    fleet.redis.kill();
    let url = |path: &str| fleet.addresses[0].clone() + path;
    assert_eq!(client().get(url("/health/live")).send().await.unwrap().status(), 200);
    assert_eq!(client().get(url("/health/ready")).send().await.unwrap().status(), 503);
    let refused = client().post(url("/v1/jobs")).json(&quick(1)).timeout(Duration::from_secs(15)).send();
    assert_eq!(refused.await.expect("an answer within 15 s").status(), 503);
    fleet.redis.restart();

    let rest = stream.rest().await;
    let last = rest.last().expect("an end");
    assert_eq!(last.event, "completed", "{:?}", last.data.get(..200));
    assert_eq!(rest.iter().filter(|event| event.event == "completed").count(), 1);
    // And the fleet still serves.
    let begun = std::time::Instant::now();
    while client().get(fleet.url(0, "/health/ready")).send().await.unwrap().status() != 200 {
        assert!(begun.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let id = fleet.submit(quick(2)).await;
    let log = fleet.follow(0, &id, None).await.rest().await;
    assert_eq!(log.last().map(|event| event.event.as_str()), Some("completed"));
    for process in fleet.apis.iter().chain(&fleet.workers) {
        assert!(!process.log().contains("panicked"), "{}: {}", process.name, process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_is_small() {
    let redis = RedisServer::start();
    let mut api = Process::start("glimpse-api", &["--redis-url", &redis.url(), "--listen", "127.0.0.1:0"]);
    let address = api.address().await;
    assert_eq!(client().get(format!("{address}/health/ready")).send().await.unwrap().status(), 200);
    let resident = api.resident();
    assert!(resident < 30 << 20, "{resident} bytes resident");
    api.signal("TERM");
    assert!(api.exit(Duration::from_secs(10)).await.success());
}
