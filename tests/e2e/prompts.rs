//! `glimpse generate --prompts` and `--json`.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::stack::{Process, SOON, binary, client};

/// Runs `glimpse generate` with this on standard input.
#[cfg(test)]
fn generate(input: &str, args: &[&str]) -> Output {
    let mut command = Command::new(binary("glimpse"));
    command.arg("generate").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("GLIMPSE_SERVER");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A process that rejects its flags does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[cfg(test)]
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The names and bytes of the files in a folder.
#[cfg(test)]
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_prompt_is_a_job_and_one_that_fails_does_not_stop_the_others() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let too_long = "x".repeat(10_001);
    let prompts = format!("# shapes\r\na red heart\n\n{too_long}\n  a blue circle\n");
    std::fs::write(path("prompts.txt"), &prompts).unwrap();
    // The recipe in a picture names the server's app.
    let small = [
        "--seed",
        "7",
        "--steps",
        "3",
        "--width",
        "64",
        "--height",
        "64",
        "--num-images",
        "2",
        "--no-metadata",
    ];

    std::fs::create_dir(path("here")).unwrap();
    let file = path("here/a.png").display().to_string();
    let previews = path("here/previews").display().to_string();
    let args = ["--prompts", "-", "-o", &file, "--preview-dir", &previews];
    let output = generate(&prompts, &[&args[..], &small].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(output.stdout.is_empty());
    let said = text(&output);
    for words in ["[1] 3/3", "[3] 3/3", "a-1-2.png (seed 7)", "prompt 2: prompt: ", "of 3 prompts 1 failed"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let here = files(&path("here"));
    assert_eq!(here.keys().collect::<Vec<_>>(), ["a-1-1.png", "a-1-2.png", "a-3-1.png", "a-3-2.png"]);
    assert!(here["a-1-1.png"] != here["a-3-1.png"]);
    assert!(path("here/previews/3/preview-00.jpg").is_file());

    std::fs::create_dir(path("served")).unwrap();
    let file = path("served/a.png").display().to_string();
    let list = path("prompts.txt").display().to_string();
    let args = ["--prompts", &list, "-o", &file, "--server", &address, "--json"];
    let output = generate("", &[&args[..], &small].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(files(&path("served")) == here, "other pictures by a server");
    // Standard error has what went wrong, and nothing else.
    assert_eq!(text(&output).lines().count(), 2, "{}", text(&output));
    let events: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for number in 1..=3 {
        let events: Vec<&Value> = events.iter().filter(|event| event["number"] == number).collect();
        let last = events.last().unwrap();
        if number == 2 {
            assert_eq!((events.len(), &last["type"], &last["exit_code"]), (1, &"failed".into(), &2.into()));
            assert!(last["message"].as_str().unwrap().contains("10000"), "{last}");
            continue;
        }
        assert_eq!((&events[0]["type"], &last["type"]), (&"submitted".into(), &"completed".into()));
        assert!(events.iter().all(|event| event["job"] == events[0]["job"] && event["job"].is_string()));
        assert!(events.iter().any(|event| event["type"] == "progress" && event["steps"] == 3));
        assert_eq!(last["seed"], 7);
        let named = last["files"].as_array().unwrap();
        assert!(named.len() == 2 && named[1].as_str().unwrap().ends_with(&format!("a-{number}-2.png")));
    }
}

#[test]
fn a_list_that_cannot_be_used_is_refused_before_any_job() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.png").display().to_string();
    let nowhere = folder.path().join("no/a.png").display().to_string();
    for (input, args, names) in [
        ("# nothing\n\n", &["--prompts", "-", "-o", &file][..], "--prompts -: it has no prompt"),
        ("", &["--prompts", "no/such.txt", "-o", &file], "--prompts no/such.txt"),
        ("a\n", &["--prompts", "-", "-o", "-"], "--output -"),
        ("a\n", &["--prompts", "-", "-o", &nowhere], "--output"),
        ("a\n", &["--prompts", "-", "a heart", "-o", &file], "--prompts"),
        ("a\n", &["a heart", "-o", "-", "--json"], "--output -: with --json"),
        ("a\n", &["-o", &file], "PROMPT"),
        ("a\n", &["a heart", "-o", &file, "--parallel", "2"], "--prompts"),
    ] {
        let output = generate(input, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(names), "{args:?} does not name {names}: {}", text(&output));
    }
    assert!(files(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_jobs_in_hand_and_begins_no_others() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (list, file) = (path("prompts.txt"), path("a.png"));
    std::fs::write(&list, "a heart\n".repeat(6)).unwrap();
    let mut batch = Process::start(
        "glimpse",
        &[
            "generate",
            "--prompts",
            &list,
            "-o",
            &file,
            "--server",
            &address,
            "--parallel",
            "2",
            "--steps",
            "50",
            "--width",
            "512",
            "--height",
            "512",
        ],
    );
    let jobs = async || {
        let jobs = client().get(format!("{address}/v1/jobs")).send().await.unwrap();
        let jobs: Value = jobs.json().await.unwrap();
        let jobs = jobs["jobs"].as_array().unwrap();
        jobs.iter().map(|job| job["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let begun = Instant::now();
    while jobs().await.len() < 2 {
        assert!(begun.elapsed() < SOON, "two jobs never began: {}", batch.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    batch.signal("INT");
    assert_eq!(batch.exit(SOON).await.code(), Some(130), "{}", batch.log());
    assert!(batch.log().contains("of 6 prompts 2 failed, 4 not begun"), "{}", batch.log());
    assert_eq!(jobs().await, ["cancelled", "cancelled"]);
    assert_eq!(files(folder.path()).len(), 1, "the list alone");
}
