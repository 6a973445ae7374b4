//! `glimpse workers`, `jobs`, `cancel`, `completions` and `man`.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

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
        assert!(text.contains(has), "{shell}");
        for word in ["doctor", "watch", "man", "prompts", "inline"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(glimpse(&["completions", "tcsh"]).status.code(), Some(2));
}

/// The commands that `glimpse --help` lists.
#[cfg(test)]
fn commands() -> Vec<String> {
    let help = out(&glimpse(&["--help"]));
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    // A line that goes on has more spaces.
    let lines = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn every_command_has_a_manual_page_that_man_shows() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    assert!(glimpse(&["man", "--dir", dir.to_str().unwrap()]).status.success());
    let commands = commands();
    assert!(commands.iter().any(|name| name == "generate") && commands.iter().any(|name| name == "watch"));
    for name in commands.iter().filter(|name| *name != "help") {
        let page = fs::read_to_string(dir.join(format!("glimpse-{name}.1"))).expect(name);
        assert!(page.contains(".SH SYNOPSIS") && page.contains(".SH OPTIONS"), "{name}");
        assert_eq!(out(&glimpse(&["man", name])), page, "{name}");
        shown(&dir.join(format!("glimpse-{name}.1")));
    }
    let page = out(&glimpse(&["man"]));
    assert_eq!(page, fs::read_to_string(dir.join("glimpse.1")).unwrap());
    let generate = out(&glimpse(&["man", "generate"]));
    assert!(generate.contains("GLIMPSE_SERVER") && generate.contains("Exit codes: 0 done"));
    assert_eq!(glimpse(&["man", "nothing"]).status.code(), Some(2));
}

/// Checks that `man`, where it is installed, has no warning about a page.
#[cfg(test)]
fn shown(page: &Path) {
    let mut man = Command::new("man");
    man.args(["--warnings", "-l"]).arg(page).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
    if let Ok(output) = man.output() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", page.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_its_scopes_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml").display().to_string();
    let key = |name: &str, scope: &str| {
        let said = out(&glimpse(&["key", name]));
        let (key, entry) = said.split_once("\n\n").unwrap();
        (key.to_owned(), entry.replace("[\"jobs\"]", scope))
    };
    let (alice, first) = key("alice", "[\"jobs\"]");
    let (operator, second) = key("operator", "[\"admin\"]");
    fs::write(&file, first + &second).unwrap();
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0", "--keys-file", &file]);
    let address = server.address().await;
    let unknown = "01938c00-0000-7000-8000-000000000007";
    for (args, key, code, names) in [
        (&["jobs"][..], &*alice, 0, ""),
        (&["workers"], &alice, 2, "admin"),
        (&["workers"], &operator, 0, ""),
        (&["jobs"], &operator, 2, "jobs"),
        (&["jobs"], "wrong", 2, "--key or GLIMPSE_KEY"),
        (&["cancel", unknown], &alice, 2, "refused by"),
        (&["watch", unknown], &alice, 2, "refused by"),
        (&["watch", unknown], "wrong", 2, "--key or GLIMPSE_KEY"),
    ] {
        // `--server` is used, and the variable is not.
        let mut command = Command::new(binary("glimpse"));
        command.args(args).args(["--server", &address]);
        command.env("GLIMPSE_SERVER", "http://127.0.0.1:9").env("GLIMPSE_KEY", key);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(names) && !said.contains(key), "{args:?}: {said}");
    }
    let mut command = Command::new(binary("glimpse"));
    command.args(["jobs", "--json"]).env("GLIMPSE_SERVER", &address).env("GLIMPSE_KEY", &alice);
    let output = command.output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["jobs"], json!([]));
}
