//! `glimpse generate`: the same picture alone and by a server, and an exit code for every way to fail.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::stack::{Process, SOON, binary};

fn generate(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary("glimpse"));
    command.arg("generate").args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("TMPDIR", folder).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_and_by_a_server_the_picture_is_the_same() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    for ending in ["jpg", "png", "webp"] {
        let (alone, served) = (file(&format!("alone.{ending}")), file(&format!("served.{ending}")));
        let prompt = "a blue circle on a yellow background";
        let options = ["--seed", "5", "--steps", "6"];
        let previews = file("previews");
        let output = generate(
            folder.path(),
            &[&[prompt, "-o", &alone, "--preview-dir", &previews], &options[..]].concat(),
        );
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("6/6"), "{}", text(&output));
        for step in ["00", "05"] {
            assert!(image::open(format!("{previews}/preview-{step}.jpg")).is_ok());
        }
        let output =
            generate(folder.path(), &[&[prompt, "-o", &served, "--server", &address], &options[..]].concat());
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("6/6"), "{}", text(&output));
        let (alone, served) = (std::fs::read(alone).unwrap(), std::fs::read(served).unwrap());
        assert!(alone == served, "{ending}: {} and {} bytes", alone.len(), served.len());
        assert_eq!(image::load_from_memory(&alone).unwrap().width(), 128);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_has_its_exit_code_and_writes_nothing() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png").display().to_string();
    let nowhere = folder.path().join("no/such/folder/out.png").display().to_string();
    let gif = folder.path().join("out.gif").display().to_string();
    let picture = "docs/images/forming.png";
    let cases: [(&[&str], i32, &str); 23] = [
        (&["x", "-o", &out, "--steps", "0"], 2, "num_inference_steps"),
        (&["x", "-o", &out, "--steps", "51", "--server", &address], 2, "num_inference_steps"),
        (&["x", "-o", &out, "--width", "65"], 2, "width"),
        (&["x", "-o", &out, "--height", "7", "--server", &address], 2, "height"),
        (&["x", "-o", &out, "--seed", "-1"], 2, "seed"),
        (&["", "-o", &out, "--server", &address], 2, "prompt"),
        (&["x", "-o", &out, "--server", &address, "--app", "no/body"], 2, "no/body"),
        (&["x", "-o", &out, "--image", "no/such.png"], 2, "--image"),
        (&["x", "-o", &out, "--image", "Cargo.toml"], 2, "--image"),
        (&["x", "-o", &out, "--image", picture, "--mask", "Cargo.toml"], 2, "--mask"),
        (&["x", "-o", &out, "--mask", picture], 2, "--image"),
        (&["x", "-o", &out, "--image", picture, "--strength", "0"], 2, "--strength"),
        (&["x", "-o", &out, "--image", picture, "--strength", "-1", "--server", &address], 2, "--strength"),
        (&["x", "-o", &out, "--lora", "../a:0.5"], 2, "--lora"),
        (&["x", "-o", &out, "--lora", "a", "--lora", "b:11", "--server", &address], 2, "--lora"),
        (&["x", "-o", &out, "--lora", "a:NaN"], 2, "--lora"),
        (&["x", "-o", &out, "--guidance-rescale", "1.5"], 2, "--guidance-rescale"),
        (&["x", "-o", &out, "--clip-skip", "13", "--server", &address], 2, "--clip-skip"),
        (&["x", "-o", &gif], 2, "output"),
        (&["x", "-o", &nowhere], 2, "output"),
        (&["x", "-o", &out, "--model", "no/such/model"], 2, "no/such/model"),
        (&["x", "-o", &out, "--server", "ftp://somewhere"], 2, "--server"),
        (&["x", "-o", &out, "--server", "http://127.0.0.1:1"], 3, "http://127.0.0.1:1"),
    ];
    for (args, code, names) in cases {
        let output = generate(folder.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(names), "{args:?} does not name {names}: {}", text(&output));
        assert!(!Path::new(&out).exists(), "{args:?} wrote a file");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A server, and a `generate` whose job it is working on: the job's URL, and where the picture would go.
async fn at_work(folder: &Path) -> (Process, Process, String, PathBuf) {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let out = folder.join("out.png");
    let file = out.display().to_string();
    let args = [
        "generate", "x", "-o", &file, "--server", &address, "--steps", "50", "--width", "512", "--height",
        "512",
    ];
    let client = Process::start("glimpse", &args);
    let begun = Instant::now();
    loop {
        let workers = super::stack::client().get(format!("{address}/v1/workers")).send().await.unwrap();
        let workers: Value = workers.json().await.unwrap();
        if let Some(id) = workers["workers"][0]["job"].as_str() {
            return (server, client, format!("{address}/v1/jobs/{id}"), out);
        }
        assert!(begun.elapsed() < SOON, "the job never started: {}", client.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, mut client, job, out) = at_work(folder.path()).await;
    client.signal("INT");
    assert_eq!(client.exit(SOON).await.code(), Some(130));
    let job: Value = super::stack::client().get(job).send().await.unwrap().json().await.unwrap();
    assert_eq!(job["status"], "cancelled");
    assert!(!out.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_somebody_else_cancels_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, mut client, job, out) = at_work(folder.path()).await;
    super::stack::client().delete(job).send().await.unwrap();
    assert_eq!(client.exit(SOON).await.code(), Some(4));
    assert!(client.log().contains("cancelled by client"), "{}", client.log());
    assert!(!out.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_have_no_effect_are_said() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png").display().to_string();
    let story = format!("{} and a green star", "a red heart ".repeat(40));
    let small = ["-o", &out, "--steps", "1", "--width", "64", "--height", "64"];
    for place in [&[][..], &["--server", &address]] {
        for (what, args) in
            [("prompt", vec![&*story]), ("negative_prompt", vec!["a heart", "--negative-prompt", &story])]
        {
            let output = generate(folder.path(), &[&args[..], &small, place].concat());
            assert!(output.status.success(), "{}", text(&output));
            let said = text(&output);
            assert!(
                said.contains(&format!("warning: {what} is too long: the model reads 75 of its")),
                "{said}"
            );
        }
        let output = generate(folder.path(), &[&["a heart"], &small[..], place].concat());
        assert!(!text(&output).contains("warning"), "{}", text(&output));
    }
}
