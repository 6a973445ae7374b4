//! fal's own unmodified clients call `stream` and `run` on our server. `scripts/test` installs them.

use std::process::Command;

use super::stack::{Process, picture};
use serde_json::{Value, json};

async fn answers(program: &str, script: &str) -> Value {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let run = Command::new(program).args([script, &address]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
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
    let seen = answers("node", "tests/sdk/fal.mjs").await;
    check(&seen);
    assert_eq!(seen["refusal"]["name"], "ValidationError");
    assert!(seen["run"]["requestId"].as_str().is_some_and(|id| id.len() == 36));
}

#[tokio::test(flavor = "multi_thread")]
async fn fal_python_client() {
    check(&answers("tests/sdk/.venv/bin/python", "tests/sdk/fal_sync.py").await);
}
