//! `/metrics` of all processes, after real jobs.

use std::time::{Duration, Instant};

use super::stack::{Process, SOON, Sse, client};
use glimpse_test_support::{RedisServer, metrics::Parsed};
use serde_json::{Value, json};

const TYPE: &str = "text/plain; version=0.0.4";
const APP: &str = "glimpse/demo";

#[cfg(test)]
async fn metrics(address: &str) -> Parsed {
    let answer = client().get(format!("{address}/metrics")).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(TYPE));
    Parsed::of(&answer.text().await.unwrap())
}

/// The metrics, as soon as this is true of them: a client may see an event before its sender has counted it.
#[cfg(test)]
async fn once(address: &str, so: impl Fn(&Parsed) -> bool) -> Parsed {
    let begun = Instant::now();
    loop {
        let parsed = metrics(address).await;
        if so(&parsed) {
            return parsed;
        }
        assert!(begun.elapsed() < SOON, "the metrics do not become as expected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
fn families(parsed: &Parsed) -> Vec<&str> {
    parsed.families().keys().map(String::as_str).collect()
}

#[cfg(test)]
fn ended(parsed: &Parsed, outcome: &str) -> f64 {
    parsed.value("glimpse_jobs_total", &[("app", APP), ("outcome", outcome)])
}

#[cfg(test)]
fn stage(parsed: &Parsed, stage: &str) -> f64 {
    parsed.count("glimpse_stage_seconds", &[("stage", stage)])
}

const WORK: [&str; 5] = [
    "glimpse_jobs_total",
    "glimpse_leases_lost_total",
    "glimpse_preview_overhead_ratio",
    "glimpse_stage_seconds",
    "glimpse_steps_total",
];
const QUEUE: [&str; 3] =
    ["glimpse_expected_wait_seconds", "glimpse_queue_depth", "glimpse_queue_oldest_wait_seconds"];
const STREAMS: [&str; 2] = ["glimpse_sse_bytes_total", "glimpse_sse_clients"];

#[cfg(test)]
fn sorted(parts: &[&[&'static str]]) -> Vec<&'static str> {
    let mut names = parts.concat();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_serve_is_counted_in_every_family() {
    let mut process = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = process.address().await;
    let before = metrics(&address).await;
    assert_eq!(families(&before), sorted(&[&WORK, &QUEUE, &STREAMS]));
    for outcome in ["completed", "failed", "cancelled"] {
        assert_eq!(ended(&before, outcome), 0.0);
    }

    let body = json!({ "prompt": "a red heart", "seed": 1, "num_inference_steps": 6, "preview_every": 2 });
    let request = client().post(format!("{address}/{APP}/stream")).json(&body);
    let events = Sse::open(request).await.rest().await;
    let after = once(&address, |parsed| parsed.value("glimpse_sse_clients", &[]) == 0.0).await;
    assert_eq!(ended(&after, "completed"), 1.0);
    assert_eq!(after.value("glimpse_steps_total", &[]), 6.0);
    assert_eq!((stage(&after, "text"), stage(&after, "denoise"), stage(&after, "decode")), (1.0, 6.0, 1.0));
    let previews = stage(&after, "preview");
    assert_eq!(previews as usize, events.len() - 1);
    assert_eq!(stage(&after, "encode"), previews + 1.0);
    let seconds = |name| after.value("glimpse_stage_seconds_sum", &[("stage", name)]);
    let ratio = after.value("glimpse_preview_overhead_ratio", &[]);
    assert!((ratio - seconds("preview") / seconds("denoise")).abs() < 1e-6 && ratio > 0.0, "{ratio}");
    let data: usize = events.iter().map(|event| event.data.len()).sum();
    assert!(after.value("glimpse_sse_bytes_total", &[]) >= data as f64);
    assert_eq!(after.value("glimpse_queue_depth", &[("app", APP)]), 0.0);
    assert!(after.labels().is_subset(&["app", "outcome", "stage", "le"].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_fleet_is_counted_where_its_end_was_commanded() {
    let redis = RedisServer::start();
    let url = redis.url();
    let mut api = Process::start("glimpse-api", &["--redis-url", &url, "--listen", "127.0.0.1:0"]);
    let address = api.address().await;
    let empty = metrics(&address).await;
    assert_eq!(
        families(&empty),
        sorted(&[&["glimpse_jobs_total", "glimpse_redis_seconds"], &QUEUE, &STREAMS])
    );
    assert_eq!(empty.samples("glimpse_jobs_total"), 0, "no app is known yet");

    let args = ["--redis-url", &url, "--model", "models/demo", "--app", APP, "--device", "cpu"];
    let mut worker = Process::start("glimpse-worker", &[&args[..], &["--listen", "127.0.0.1:0"]].concat());
    let its = worker.address().await;
    let begun = Instant::now();
    let is_ready = async || {
        let answer = client().get(format!("{its}/health/ready")).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    };
    while !is_ready().await {
        assert!(begun.elapsed() < SOON, "the worker never came: {}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(families(&metrics(&its).await), WORK);

    let submit = async |steps: u32| -> String {
        let body = json!({ "app": APP, "prompt": "a red heart", "seed": 1, "num_inference_steps": steps });
        let answer = client().post(format!("{address}/v1/jobs")).json(&body).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let first = submit(4).await;
    let events = format!("{address}/v1/jobs/{first}/events");
    Sse::open(client().get(events)).await.rest().await;
    let (first, second) = (submit(50).await, submit(50).await);
    for id in [&second, &first] {
        client().delete(format!("{address}/v1/jobs/{id}")).send().await.unwrap();
    }
    let of_worker = once(&its, |parsed| ended(parsed, "completed") == 1.0).await;
    let of_api = metrics(&address).await;
    assert_eq!(ended(&of_api, "completed"), 0.0);
    assert_eq!((ended(&of_worker, "cancelled"), ended(&of_api, "cancelled")), (0.0, 2.0));
    assert!(of_api.value("glimpse_redis_seconds_count", &[]) > 0.0);
    assert_eq!(of_api.value("glimpse_queue_depth", &[("app", APP)]), 0.0);
    assert!(of_api.value("glimpse_sse_bytes_total", &[]) > 0.0);
}
