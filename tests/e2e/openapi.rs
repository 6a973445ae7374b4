//! schemathesis, unmodified, calls every route of a real server with data that `docs/openapi.json` allows and with data
//! that it forbids. `scripts/test` installs it.

use std::{process::Command, time::Duration};

use super::stack::{Process, client};
use serde_json::{Value, json};

/// A job that has ended, for the routes that read one.
async fn completed_job(address: &str) -> String {
    let body = json!({ "app": "glimpse/demo", "prompt": "a heart", "seed": 1, "num_inference_steps": 1 });
    let submitted: Value =
        client().post(format!("{address}/v1/jobs")).json(&body).send().await.unwrap().json().await.unwrap();
    let id = submitted["id"].as_str().unwrap().to_owned();
    let events = client().get(format!("{address}/v1/jobs/{id}/events")).send().await.unwrap();
    assert!(events.text().await.unwrap().contains("event: completed"));
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_wrong() {
    // The smallest pictures, and few of them at once: the test is about the routes.
    let flags = ["serve", "--listen", "127.0.0.1:0", "--max-pixels", "4096", "--queue-limit", "4"];
    let mut server = Process::start("glimpse", &flags);
    let address = server.address().await;
    let job = completed_job(&address).await;
    // It writes what it remembers into the folder that it runs in.
    let (folder, sdk) = (tempfile::tempdir().unwrap(), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk"));
    let run = Command::new(format!("{sdk}/.venv/bin/schemathesis"))
        .args([
            "--config-file",
            &format!("{sdk}/schemathesis.toml"),
            "run",
            &format!("{address}/openapi.json"),
        ])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .env("GLIMPSE_JOB", job)
        .current_dir(folder.path())
        .output()
        .expect("schemathesis; scripts/test installs it");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("No issues found"), "{said}");
    server.signal("TERM");
    assert!(server.exit(Duration::from_secs(60)).await.success());
}
