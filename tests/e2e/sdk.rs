//! fal's own unmodified clients call our server: `stream`, `run` and the queue, over http, over https with keys, and through
//! nginx. `scripts/test` installs them.

use std::process::Command;

use super::{
    keys::new_key,
    nginx::Nginx,
    stack::{Process, picture},
};
use serde_json::{Value, json};

pub const PYTHON: &str = "tests/sdk/.venv/bin/python";

/// The way from a client to our server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Http,
    /// With keys too, as strangers reach a server.
    Https,
    /// Through nginx with its default settings.
    Nginx,
}

/// What a script prints, run against a new server with the rest of the arguments.
pub async fn answers(way: Way, program: &str, script: &str, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().display().to_string();
    let keys = folder.path().join("keys.toml").display().to_string();
    let (key, entry) = new_key("client");
    let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--allow-private-webhooks"];
    if way == Way::Https {
        std::fs::write(&keys, entry).unwrap();
        args.extend(["--tls-dir", &certificates, "--keys-file", &keys]);
    }
    let mut server = Process::start("glimpse", &args);
    let mut address = server.address().await;
    let _nginx = match way {
        Way::Nginx => {
            let nginx = Nginx::before(&address).await;
            address.clone_from(&nginx.address);
            Some(nginx)
        }
        _ => None,
    };
    let mut run = Command::new(program);
    if way == Way::Https {
        address = address.replace("http:", "https:");
        // The documented settings, and nothing else.
        let host = address.strip_prefix("https://").unwrap();
        let ca = folder.path().join("ca.pem");
        run.env("SSL_CERT_FILE", &ca).env("NODE_EXTRA_CA_CERTS", &ca);
        run.env("FAL_KEY", &key).env("OPENAI_API_KEY", &key);
        run.env("FAL_RUN_HOST", host).env("FAL_QUEUE_RUN_HOST", format!("{host}/queue"));
    }
    if script.contains("realtime") && program == "node" {
        run.arg("--experimental-websocket");
    }
    let run = run.args([script, &address]).args(more).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let run = run.unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs it"));
    assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("one JSON object")
}

/// What both clients must have received.
fn check(seen: &Value) {
    let events = seen["events"].as_array().unwrap();
    assert_eq!(events.len(), 5, "4 previews and the end");
    for url in events {
        assert_eq!(picture(url).dimensions(), (128, 128));
    }
    assert_eq!(seen["last"]["url"], events[4]);
    assert_eq!(seen["last"]["seed"], 1);
    assert_eq!(seen["run"]["url"], events[4], "the same seed gives the same picture");
    assert_eq!(seen["run"]["seed"], 1);
    assert_eq!(seen["refusal"]["status"], 422);
    assert_eq!(seen["refusal"]["fields"], json!([["body", "num_inference_steps"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn fal_javascript_client() {
    javascript(Way::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fal_javascript_client_over_https() {
    javascript(Way::Https).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fal_javascript_client_through_nginx() {
    javascript(Way::Nginx).await;
}

async fn javascript(way: Way) {
    let seen = answers(way, "node", "tests/sdk/fal.mjs", &[]).await;
    check(&seen);
    assert_eq!(seen["refusal"]["name"], "ValidationError");
    assert!(seen["run"]["requestId"].as_str().is_some_and(|id| id.len() == 36));
}

#[tokio::test(flavor = "multi_thread")]
async fn fal_python_client() {
    check(&answers(Way::Http, PYTHON, "tests/sdk/fal_sync.py", &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn fal_python_client_over_https() {
    check(&answers(Way::Https, PYTHON, "tests/sdk/fal_sync.py", &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn fal_python_client_through_nginx() {
    check(&answers(Way::Nginx, PYTHON, "tests/sdk/fal_sync.py", &[]).await);
}

/// fal's JavaScript client has its server's address in its code, so the script gives it another WebSocket.
async fn realtime_javascript(way: Way) {
    let seen = answers(way, "node", "tests/sdk/fal_realtime.mjs", &[]).await;
    assert_eq!(picture(&seen["url"]).dimensions(), (128, 128));
    assert_eq!((&seen["seed"], &seen["request_id"], &seen["results"]), (&json!(1), &json!("one"), &json!(1)));
    assert_eq!(seen["errors"], json!([{ "error": "VALIDATION_ERROR", "fields": [["body", "prompt"]] }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn realtime_from_fals_javascript_client() {
    realtime_javascript(Way::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn realtime_from_fals_javascript_client_through_nginx() {
    realtime_javascript(Way::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn realtime_from_fals_python_client() {
    let seen = answers(Way::Https, PYTHON, "tests/sdk/fal_realtime.py", &[]).await;
    let run = &seen["run"];
    let made = |id: Value| json!({ "url": run, "seed": 1, "prompt": HEART, "request_id": id });
    assert_eq!(seen["blocking"]["first"], made(json!("one")), "the picture that run gives");
    assert_eq!(seen["blocking"]["second"], made(Value::Null));
    let fields = json!([["body", "num_inference_steps"]]);
    let refused = json!({ "error": "VALIDATION_ERROR", "fields": fields, "request_id": "wrong" });
    assert_eq!(seen["blocking"]["refused"], refused);
    assert_eq!(seen["asynchronous"][0], made(Value::Null));
    assert_eq!(seen["asynchronous"][1]["seed"], 2);
    assert_eq!(picture(&seen["changed"]["url"]).dimensions(), (128, 128));
}

/// The prompt of the scripts.
const HEART: &str = "a red heart on a white background";

/// The first and the last log line of a request with pictures.
fn check_lines(lines: &Value) {
    let lines: Vec<_> = lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!((lines[0], *lines.last().unwrap()), ("Queued", "Completed"), "{lines:?}");
    assert!(lines[1].starts_with("Started"), "{lines:?}");
}

/// The errors for the fields that both scripts send.
fn check_wrong(refused: &Value) {
    assert_eq!(refused["status"], 422);
    assert_eq!(refused["fields"], json!([["body", "num_inference_steps"], ["body", "image_size"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_from_fals_python_client() {
    python_queue(Way::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_from_fals_python_client_over_https() {
    python_queue(Way::Https).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_from_fals_python_client_through_nginx() {
    python_queue(Way::Nginx).await;
}

async fn python_queue(way: Way) {
    let seen = answers(way, PYTHON, "tests/sdk/fal_queue.py", &[]).await;
    let seen_by = &seen["blocking"];
    let run = &seen_by["run"];
    assert_eq!(picture(&run["url"]).dimensions(), (128, 128));
    assert_eq!((&run["seed"], &run["prompt"]), (&json!(1), &json!("a red heart on a white background")));
    for same in [&seen_by["subscribed"], &seen_by["got"]["handle"], &seen_by["got"]["result"]] {
        assert_eq!(same, run, "the same request gives the same answer");
    }
    assert_eq!(seen_by["warnings"][0]["code"], "prompt_not_expanded");
    let mut updates: Vec<_> = seen_by["updates"].as_array().unwrap().clone();
    updates.dedup();
    assert_eq!(updates.last(), Some(&json!("Completed")), "{updates:?}");
    assert!(updates.contains(&json!("InProgress")), "{updates:?}");
    check_lines(&seen_by["lines"]);
    assert!(seen_by["metrics"]["inference_time"].as_f64().unwrap() > 0.0);
    assert_eq!(seen_by["position"], 0);
    let late = json!({ "status": 504, "fields": null, "type": "request_timeout" });
    assert_eq!(seen_by["timeout"], late);
    let cancelled = json!({ "status": 499, "fields": null, "type": "client_cancelled" });
    assert_eq!(seen_by["cancelled"]["queued"], cancelled);
    assert_eq!(seen_by["cancelled"]["running"], cancelled);
    let status = json!(["Completed", "Invalid status code: 499", "client_cancelled"]);
    assert_eq!(seen_by["cancelled"]["status"], status);
    check_wrong(&seen_by["refused"]["submit"]);
    assert_eq!(seen_by["refused"]["run"]["fields"], json!([["body", "image_url"]]));
    assert_eq!(seen_by["refused"]["embeddings"]["fields"], json!([["body", "embeddings"]]));
    assert_eq!(seen_by["refused"]["app"]["status"], 404);
    for call in ["status", "result", "cancel"] {
        assert_eq!(seen_by["unknown"][call]["status"], 404, "{call}");
    }
    assert_eq!(seen_by["completed"]["status"], 400);

    let seen_by = &seen["asynchronous"];
    let subscribed = seen_by["subscribed"].as_array().unwrap();
    let seeds: Vec<_> = subscribed.iter().map(|result| &result["seed"]).collect();
    assert_eq!(seeds, [&json!(1), &json!(2), &json!(3), &json!(1)]);
    assert_eq!((&subscribed[0], &subscribed[3]), (run, run));
    assert_ne!(subscribed[1]["url"], run["url"]);
    assert!(seen_by["lines"].as_u64().unwrap() >= 2);
    assert_eq!((&seen_by["got"], &seen_by["streamed"]), (run, &run["url"]));
    assert_eq!(seen_by["cancelled"], cancelled);
    check_wrong(&seen_by["refused"]);
    assert_eq!(seen_by["unknown"]["status"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_from_fals_javascript_client() {
    javascript_queue(Way::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_from_fals_javascript_client_over_https() {
    javascript_queue(Way::Https).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_from_fals_javascript_client_through_nginx() {
    javascript_queue(Way::Nginx).await;
}

async fn javascript_queue(way: Way) {
    let seen = answers(way, "node", "tests/sdk/fal_queue.mjs", &[]).await;
    let url = &seen["result"]["url"];
    assert_eq!(picture(url).dimensions(), (128, 128));
    for mode in ["polling", "streaming"] {
        let subscribed = &seen[mode];
        assert_eq!((&subscribed["url"], &subscribed["seed"]), (url, &json!(1)), "{mode}");
        assert_eq!(subscribed["requestId"].as_str().map(str::len), Some(36));
        assert_eq!(subscribed["statuses"].as_array().unwrap().last(), Some(&json!("COMPLETED")));
        check_lines(&subscribed["lines"]);
    }
    // Each preview is a line, once.
    let steps = ["Step 1 of 20", "Step 6 of 20", "Step 11 of 20", "Step 16 of 20"].map(|line| json!(line));
    assert_eq!(seen["streaming"]["lines"].as_array().unwrap()[2..6], steps);
    assert_eq!(seen["streaming"]["statuses"][0], "IN_QUEUE");

    let id = &seen["submitted"]["request_id"];
    assert_eq!((&seen["submitted"]["status"], &seen["result"]["requestId"]), (&json!("IN_QUEUE"), id));
    assert_eq!((&seen["early"]["kind"], &seen["early"]["status"]), (&json!("ApiError"), &json!(400)));
    assert!(seen["completed"]["metrics"]["inference_time"].as_f64().unwrap() > 0.0);
    assert_eq!(seen["done"]["status"], 400);
    assert_eq!((&seen["timeout"]["status"], &seen["timeout"]["isUserTimeout"]), (&json!(504), &json!(true)));
    assert_eq!(
        (&seen["last"]["status"], &seen["last"]["error_type"]),
        (&json!("COMPLETED"), &json!("client_cancelled"))
    );
    for which in ["queued", "running"] {
        assert_eq!(seen["cancelled"][which]["status"], 499, "{which}");
    }
    check_wrong(&seen["refused"]["submit"]);
    assert_eq!(seen["refused"]["submit"]["kind"], "ValidationError");
    assert_eq!(seen["refused"]["subscribe"]["fields"], json!([["body", "image_url"], ["body", "mask_url"]]));
    let proxy = &seen["proxy"];
    assert_eq!((&proxy["run"]["url"], &proxy["subscribe"]["url"], &proxy["events"][4]), (url, url, url));
    assert_eq!(proxy["refused"]["fields"], json!([["body", "prompt"]]));
    for call in ["status", "result", "cancel"] {
        let unknown = &seen["unknown"][call];
        assert_eq!((&unknown["kind"], &unknown["status"]), (&json!("ApiError"), &json!(404)), "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_from_fals_python_client() {
    let seen = answers(Way::Http, PYTHON, "tests/sdk/fal_webhook.py", &[]).await;
    let (ids, calls) = (&seen["ids"], &seen["calls"]);
    let envelope =
        |status: &str, id: &Value| json!({ "request_id": id, "gateway_request_id": id, "status": status });
    let mut done = envelope("OK", &ids["done"]);
    done["payload"] = seen["result"].clone();
    let mut cancelled = envelope("ERROR", &ids["cancelled"]);
    cancelled["error"] = json!("Invalid status code: 499");
    cancelled["payload"] = json!({ "detail": "Request was cancelled", "error_type": "client_cancelled" });
    // The receiver was down at the first call, and got the same body again.
    assert_eq!(calls["/done?a=b&c=%20"], json!([done, done]));
    assert_eq!(calls["/cancelled"], json!([cancelled, cancelled]));
    let own = calls["/own"].as_array().unwrap();
    assert_eq!((own.len(), &own[0]), (2, &own[1]));
    assert_eq!((&own[0]["id"], &own[0]["status"]), (&ids["own"], &json!("completed")));
    assert_eq!(picture(&own[0]["result"]["images"][0]["url"]).dimensions(), (128, 128));
    for (path, wait) in seen["waits"].as_object().unwrap() {
        assert!(wait.as_f64().unwrap() < 10.0, "{path} was called again after {wait} s");
    }
    assert_eq!(seen["changed"], json!(["BadSignatureError"]), "a changed body was accepted");
    assert_eq!(seen["refused"], json!([422, ["query", "fal_webhook"], "url_scheme"]));
}
