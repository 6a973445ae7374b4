//! `glimpse workers`, `jobs`, `cancel` and `completions`.

use std::process::{Command, Output};

use super::stack::{Process, binary, client};
use serde_json::{Value, json};

#[cfg(test)]
fn glimpse(args: &[&str]) -> Output {
    let mut command = Command::new(binary("glimpse"));
    command.args(args).env_remove("GLIMPSE_SERVER").env_remove("GLIMPSE_KEY").output().unwrap()
}

#[cfg(test)]
fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_seen_and_a_job_cancelled_from_the_command_line() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let at = ["--server", address.as_str()];
    let output = glimpse(&[&["workers"][..], &at].concat());
    let text = out(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("WORKER ") && text.contains("glimpse/demo"), "{text}");

    let body = json!({ "app": "glimpse/demo", "prompt": "a red heart", "num_inference_steps": 50,
        "width": 384, "height": 384 });
    let answer = client().post(format!("{address}/v1/jobs")).json(&body).send().await.unwrap();
    let id = answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let output = glimpse(&[&["jobs", "--limit", "1"][..], &at].concat());
    assert_eq!(output.status.code(), Some(0));
    assert!(out(&output).lines().any(|line| line.starts_with(&id)), "{}", out(&output));
    let output = glimpse(&[&["cancel", id.as_str()][..], &at].concat());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(out(&output), format!("{id} cancelled\n"));
    let output = glimpse(&[&["jobs", "--status", "cancelled", "--json"][..], &at].concat());
    let jobs: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(jobs["jobs"][0]["id"], id.as_str());
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let nowhere = ["--server", "http://127.0.0.1:9"];
    let unknown = "01938c00-0000-7000-8000-000000000007";
    for (args, code) in [
        (&["workers"][..], 2),
        (&["cancel", "no-id", "--server", "http://127.0.0.1:9"], 2),
        (&["jobs", "--status", "gone", "--server", "http://127.0.0.1:9"], 2),
        (&["workers", "--server", "ftp://127.0.0.1"], 2),
    ] {
        assert_eq!(glimpse(args).status.code(), Some(code), "{args:?}");
    }
    for args in [&["workers"][..], &["jobs"], &["cancel", unknown]] {
        let output = glimpse(&[args, &nowhere].concat());
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        assert!(out(&output).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_job_is_refused() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let unknown = "01938c00-0000-7000-8000-000000000007";
    let output = glimpse(&["cancel", unknown, "--server", &address]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_shell_gets_its_script() {
    for (shell, has) in
        [("bash", "complete -F"), ("zsh", "#compdef glimpse"), ("fish", "complete -c glimpse")]
    {
        let output = glimpse(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let text = out(&output);
        assert!(text.contains(has) && text.contains("doctor"), "{shell}");
    }
    assert_eq!(glimpse(&["completions", "tcsh"]).status.code(), Some(2));
}
