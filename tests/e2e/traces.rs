//! Traces, and the ids in the log: from the request to the stages of the worker.

use std::{collections::BTreeSet, time::Duration};

use super::stack::{Process, SOON, Sse, client};
use glimpse_test_support::{Collector, ReceivedSpan, RedisServer, WebhookAnswer, WebhookReceiver};
use serde_json::{Value, json};

const APP: &str = "glimpse/demo";
/// A word of the prompts. It must be in no log and in no trace.
const MARK: &str = "swordfish";
/// The trace of a client that records it, and of one that does not.
const RECORDED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNRECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
/// The timeout for the end of an idle process, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

#[cfg(test)]
async fn submit(address: &str, traceparent: Option<&str>, more: Value) -> String {
    let mut body = json!({ "app": APP, "prompt": format!("a red heart with a {MARK}"), "seed": 1,
        "negative_prompt": MARK, "num_inference_steps": 6, "preview_every": 2 });
    body.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
    let mut request = client().post(format!("{address}/v1/jobs")).json(&body);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

#[cfg(test)]
async fn events(address: &str, id: &str) -> Sse {
    Sse::open(client().get(format!("{address}/v1/jobs/{id}/events"))).await
}

#[cfg(test)]
async fn completed(address: &str, id: &str) {
    let rest = events(address, id).await.rest().await;
    assert_eq!(rest.last().unwrap().event, "completed");
}

/// Ends a process, which then has sent its spans.
#[cfg(test)]
async fn ended(process: &mut Process) {
    process.signal("TERM");
    assert_eq!(process.exit(AT_ONCE).await.code(), Some(0), "{}", process.log());
}

#[cfg(test)]
fn named<'a>(spans: &'a [ReceivedSpan], name: &str) -> Vec<&'a ReceivedSpan> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[cfg(test)]
fn steps(denoise: &ReceivedSpan) -> Vec<u32> {
    let step = |(name, attributes): &(String, std::collections::BTreeMap<String, String>)| {
        assert_eq!(name, "step");
        attributes["step"].parse().unwrap()
    };
    denoise.events.iter().map(step).collect()
}

/// The messages of a process' lines that have this id of a job, each with the id of its trace.
#[cfg(test)]
fn lines(process: &Process, id: &str) -> Vec<(String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let lines = process.log();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines
        .filter(|line| line["job_id"] == id)
        .map(|line| (text(&line, "message"), text(&line, "trace_id")))
        .collect()
}

/// No prompt is in a log or in a trace.
#[cfg(test)]
fn assert_secret(processes: &[&Process], collector: &Collector) {
    for process in processes {
        assert!(!process.log().contains(MARK), "{}", process.log());
    }
    for body in collector.bodies() {
        assert!(!String::from_utf8_lossy(&body).contains(MARK));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_serve_is_one_trace() {
    let (collector, hook) = (Collector::start(), WebhookReceiver::start(|_, _| WebhookAnswer::OK));
    let endpoint = collector.endpoint();
    let flags = ["--allow-private-webhooks", "--log-format", "json", "--log", "debug"];
    let args = ["serve", "--listen", "127.0.0.1:0", "--otlp-endpoint", &endpoint];
    let mut process = Process::start("glimpse", &[&args[..], &flags].concat());
    let address = process.address().await;
    let id = submit(&address, None, json!({ "webhook": hook.url("/") })).await;
    completed(&address, &id).await;
    let begun = std::time::Instant::now();
    while lines(&process, &id).iter().all(|(message, _)| message != "called the webhook") {
        assert!(begun.elapsed() < SOON, "the webhook was not called: {}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ended(&mut process).await;

    let spans = collector.spans();
    let [request] = named(&spans, "POST /v1/jobs")[..] else { panic!("one request: {spans:#?}") };
    assert!(request.is_server && request.parent.is_empty() && request.service == "glimpse", "{request:?}");
    assert_eq!(request.attribute("job_id"), id);
    assert_eq!(request.attribute("http.response.status_code"), "202");
    let [attempt] = named(&spans, "attempt")[..] else { panic!("one attempt: {spans:#?}") };
    let about = ["job_id", "app", "attempt", "outcome"].map(|name| attempt.attribute(name));
    assert_eq!((&*attempt.parent, about), (&*request.id, [&*id, APP, "1", "completed"]));
    assert!(attempt.attribute("worker_id").starts_with("local"), "{attempt:?}");
    for (stage, times) in [("text", 1), ("denoise", 1), ("decode", 1)] {
        assert_eq!(named(&spans, stage).len(), times, "{stage}: {spans:#?}");
    }
    let (previews, encodes) = (named(&spans, "preview").len(), named(&spans, "encode").len());
    assert!(previews > 0 && encodes == previews + 1 && named(&spans, "publish").len() == encodes);
    for stage in ["text", "denoise", "preview", "decode", "encode", "publish"] {
        for span in named(&spans, stage) {
            assert_eq!(span.parent, attempt.id, "{span:?}");
            assert!(attempt.time.contains(span.time.start()) && attempt.time.contains(span.time.end()));
        }
    }
    let denoise = named(&spans, "denoise")[0];
    assert_eq!(steps(denoise), [0, 1, 2, 3, 4, 5]);
    let webhook = named(&spans, "webhook")[0];
    assert_eq!((&*webhook.parent, webhook.attribute("outcome")), (&*request.id, "acknowledged"));
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace).collect();
    assert_eq!(traces.len(), 1, "{spans:#?}");

    let lines = lines(&process, &id);
    for message in ["submitted", "job claimed", "job ended", "called the webhook"] {
        assert!(lines.iter().any(|(said, _)| said == message), "{message}: {}", process.log());
    }
    assert!(lines.iter().all(|(_, trace)| *trace == request.trace), "{lines:?}");
    assert_secret(&[&process], &collector);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_of_one_job_are_in_the_trace_of_its_client() {
    let (redis, collector) = (RedisServer::start(), Collector::start());
    let (url, endpoint) = (redis.url(), collector.endpoint());
    let shared = ["--redis-url", &url, "--otlp-endpoint", &endpoint, "--log-format", "json"];
    let mut api = Process::start("glimpse-api", &[&shared[..], &["--listen", "127.0.0.1:0"]].concat());
    let worker = || {
        let own = ["--model", "models/demo", "--app", APP, "--device", "cpu", "--drain-grace", "0"];
        Process::start("glimpse-worker", &[&shared[..], &own].concat())
    };
    let mut first = worker();
    let address = api.address().await;
    super::stack::until_log(&first, "ready for jobs").await;
    let slow = json!({ "num_inference_steps": 30, "width": 256, "height": 256, "preview_every": 1 });
    let id = submit(&address, Some(RECORDED), slow).await;
    let mut watched = events(&address, &id).await;
    while watched.next().await.expect("the job has no end yet").event != "preview" {}
    ended(&mut first).await;
    let mut second = worker();
    assert_eq!(watched.rest().await.last().unwrap().event, "completed");
    let other = submit(&address, Some(UNRECORDED), json!({})).await;
    completed(&address, &other).await;
    ended(&mut second).await;
    ended(&mut api).await;

    let spans = collector.spans();
    let trace = &RECORDED[3..35];
    assert!(spans.iter().all(|span| span.trace == trace), "a trace that is not recorded: {spans:#?}");
    let [request] = named(&spans, "POST /v1/jobs")[..] else { panic!("one request: {spans:#?}") };
    assert_eq!((&*request.service, &*request.parent), ("glimpse-api", &RECORDED[36..52]));
    let mut attempts = named(&spans, "attempt");
    attempts.sort_by_key(|attempt| attempt.attribute("attempt"));
    let about = |name: &str| attempts.iter().map(|attempt| attempt.attribute(name)).collect::<Vec<_>>();
    assert_eq!(about("attempt"), ["1", "2"]);
    assert_eq!(about("outcome"), ["given_back", "completed"]);
    assert_eq!(about("job_id"), [&id, &id]);
    assert_ne!(about("worker_id")[0], about("worker_id")[1]);
    for attempt in &attempts {
        assert_eq!((&*attempt.parent, &*attempt.service), (&*request.id, "glimpse-worker"));
        let below = |name: &str| {
            named(&spans, name).into_iter().filter(|span| span.parent == attempt.id).collect::<Vec<_>>()
        };
        let [denoise] = below("denoise")[..] else { panic!("one denoise in each attempt: {spans:#?}") };
        let steps = steps(denoise);
        assert!(!steps.is_empty() && steps.is_sorted() && !below("text").is_empty(), "{steps:?}");
        assert!(!attempt.failed);
    }
    let ids: BTreeSet<_> =
        [request].into_iter().chain(attempts.iter().copied()).map(|span| &span.id).collect();
    assert!(spans.iter().all(|span| span.id == request.id || ids.contains(&span.parent)), "{spans:#?}");

    for process in [&api, &first, &second] {
        let lines = lines(process, &id);
        assert!(!lines.is_empty() && lines.iter().all(|(_, its)| its == trace), "{lines:?}");
    }
    for process in [&api, &second] {
        let lines = lines(process, &other);
        assert!(!lines.is_empty() && lines.iter().all(|(_, its)| its == &UNRECORDED[3..35]), "{lines:?}");
    }
    assert_secret(&[&api, &first, &second], &collector);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_delays_no_job_and_no_end() {
    let silent = WebhookReceiver::start(|_, _| WebhookAnswer::Silence);
    // The first spans are sent while the first job runs.
    let soon = [("OTEL_BSP_SCHEDULE_DELAY", "1"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &silent.url(""))];
    let mut process = Process::start_with("glimpse", &["serve", "--listen", "127.0.0.1:0"], &soon);
    let address = process.address().await;
    let begun = std::time::Instant::now();
    for _ in 0..2 {
        let id = submit(&address, None, json!({})).await;
        completed(&address, &id).await;
        while silent.calls().is_empty() {
            assert!(begun.elapsed() < SOON, "nothing was sent: {}", process.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    ended(&mut process).await;
    assert_eq!(process.log().matches("not sent").count(), 1, "{}", process.log());
}
