//! `glimpse generate`: the same picture locally and by a server, and the exit code of every failure.

use std::{
    io::Write,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::stack::{Process, SOON, binary};

fn generate(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary("glimpse"));
    command.arg("generate").args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    // The files are compared: a recipe says which app made a picture, if one did.
    command.env("TMPDIR", folder).env("GLIMPSE_NO_METADATA", "1").output().unwrap()
}

/// The same, with something on standard input.
fn generate_from(input: &[u8], args: &[&str]) -> Output {
    let mut command = Command::new(binary("glimpse"));
    command.arg("generate").args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("GLIMPSE_NO_METADATA", "1");
    let mut child = command.spawn().unwrap();
    // A process that rejects its flags does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
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
    let cases: [(&[&str], i32, &str); 45] = [
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
        (&["x", "-o", &out, "--lora", "a:text_scale=11"], 2, "loras[0].text_scale (--lora): "),
        (&["x", "-o", &out, "--controlnet", "edges"], 2, "canny"),
        (
            &["x", "-o", &out, "--controlnet", &format!("edges={picture}:start=2")],
            2,
            "controlnets[0].start (--controlnet): ",
        ),
        (
            &[
                "x",
                "-o",
                &out,
                "--controlnet",
                &format!("edges={picture}:low_threshold=9"),
                "--server",
                &address,
            ],
            2,
            "controlnets[0].low_threshold (--controlnet): ",
        ),
        (&["x", "-o", &out, "--guidance-rescale", "1.5"], 2, "--guidance-rescale"),
        (&["x", "-o", &out, "--clip-skip", "13", "--server", &address], 2, "--clip-skip"),
        (&["x", "-o", &out, "--guidance-scale", "31"], 2, "--guidance-scale"),
        (&["x", "-o", &out, "--guidance-scale", "-1", "--server", &address], 2, "--guidance-scale"),
        (&["x", "-o", &out, "--guidance-scale", "NaN"], 2, "--guidance-scale"),
        (&["x", "-o", &out, "--guidance-rescale", "inf", "--server", &address], 2, "--guidance-rescale"),
        (&["x", "-o", &out, "--num-images", "0"], 2, "--num-images"),
        (&["x", "-o", &out, "--num-images", "5", "--server", &address], 2, "--num-images"),
        (&["x", "-o", "-", "--num-images", "2"], 2, "--num-images"),
        (&["x", "-o", &out, "--scheduler", "Nobody"], 2, "--scheduler"),
        (&["x", "-o", &out, "--scheduler", "Nobody", "--server", &address], 2, "--scheduler"),
        (&["x", "-o", &out, "--preset", "fast"], 2, "--preset"),
        (&["x", "-o", &out, "--scheduler-config", "{"], 2, "--scheduler-config"),
        (&["x", "-o", &out, "--scheduler-config", r#"{"eta":2}"#], 2, "(--scheduler-config): eta: "),
        (
            &["x", "-o", &out, "--scheduler-config", r#"{"eta":2}"#, "--server", &address],
            2,
            "(--scheduler-config): eta: ",
        ),
        (&["x", "-o", &out, "--preview-every", "51"], 2, "--preview-every"),
        (&["x", "-o", &out, "--preview-source", "sketch"], 2, "--preview-source"),
        (&["x", "-o", &out, "--output-format", "gif"], 2, "--output-format"),
        (&["x", "-o", &out, "--output-format", "jpeg"], 2, "the extension says image/png"),
        (&["-", "-o", &out], 2, "prompt (standard input): it is empty"),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_comes_from_standard_input_and_a_picture_goes_to_standard_output() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let options = ["--seed", "5", "--steps", "4"];
    let prompt = "a blue circle\non a yellow background";
    for (ending, format) in [("jpg", None), ("png", Some("png")), ("webp", Some("webp"))] {
        let file = folder.path().join(format!("named.{ending}")).display().to_string();
        let named = generate(folder.path(), &[&[prompt, "-o", &file], &options[..]].concat());
        assert!(named.status.success() && named.stdout.is_empty(), "{}", text(&named));
        let file = std::fs::read(file).unwrap();
        let format = format.map(|format| ["--output-format", format]);
        for (input, server) in
            [(format!("{prompt}\r\n"), None), (format!("\u{feff}{prompt}"), Some(["--server", &*address]))]
        {
            let mut args = [&["-", "-o", "-"], &options[..]].concat();
            args.extend(format.into_iter().flatten().chain(server.into_iter().flatten()));
            let output = generate_from(input.as_bytes(), &args);
            assert!(output.status.success(), "{}", text(&output));
            assert!(output.stdout == file, "{ending} {server:?}: {} bytes", output.stdout.len());
            assert!(text(&output).contains("4/4") && text(&output).contains("seed 5"), "{}", text(&output));
        }
    }
    for (input, why) in [
        (&b"\n"[..], "it is empty"),
        (b"a \xff heart", "it is not UTF-8 at byte 2"),
        (&[b'x'; 70_000], "it has more than 65536 bytes"),
        (&[b'x'; 10_001], "at most 10000 characters"),
    ] {
        let output = generate_from(input, &["-", "-o", "-"]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{}", text(&output));
        assert!(text(&output).contains(why), "{why}: {}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_output_does_not_cause_a_panic() {
    let args = ["generate", "a heart", "-o", "-", "--seed", "1", "--steps", "2"];
    for (stdout_is_read, stderr_is_read) in [(false, true), (true, false), (false, false)] {
        let mut command = Command::new(binary("glimpse"));
        command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if !stdout_is_read {
            drop(child.stdout.take());
        }
        if !stderr_is_read {
            drop(child.stderr.take());
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(if stdout_is_read { 0 } else { 1 }), "{}", text(&output));
        assert!(!stdout_is_read || image::load_from_memory(&output.stdout).is_ok());
        if stderr_is_read {
            assert!(text(&output).contains("cannot write to standard output"), "{}", text(&output));
            assert!(!text(&output).contains("panicked"), "{}", text(&output));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_pictures_are_numbered_and_written_all_or_none() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let options = ["a heart", "--seed", "7", "--steps", "3", "--num-images", "3"];
    std::fs::write(path("alone.a-2.png"), "what was there before").unwrap();
    for (name, server) in [("alone.a", None), ("served", Some(["--server", &*address]))] {
        let file = path(&format!("{name}.png")).display().to_string();
        let mut args = [&options[..], &["-o", &file]].concat();
        args.extend(server.into_iter().flatten());
        let output = generate(folder.path(), &args);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains(&format!("{name}-3.png (seed 7)")), "{}", text(&output));
        assert!(!Path::new(&file).exists());
    }
    let pictures =
        |name: &str| [1, 2, 3].map(|number| std::fs::read(path(&format!("{name}-{number}.png"))).unwrap());
    let (alone, served) = (pictures("alone.a"), pictures("served"));
    assert!(alone == served && alone[0] != alone[1] && alone[1] != alone[2]);
    assert!(alone.iter().all(|picture| image::load_from_memory(picture).is_ok()));

    std::fs::create_dir(path("half-2.png")).unwrap();
    let file = path("half.png").display().to_string();
    let output = generate(folder.path(), &[&options[..], &["-o", &file]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("half-2.png is a folder"), "{}", text(&output));
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left = names.filter(|name| name.to_string_lossy().starts_with("half")).count();
    assert_eq!(left, 1, "nothing but the folder");
}

#[test]
fn a_pipe_is_written_into_and_a_link_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let options = ["a heart", "--seed", "7", "--steps", "2", "-o"];
    assert!(Command::new("mkfifo").arg(path("pipe.png")).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = path("pipe.png");
        move || std::fs::read(pipe).unwrap()
    });
    let pipe = path("pipe.png").display().to_string();
    let output = generate(folder.path(), &[&options[..], &[&pipe]].concat());
    assert!(output.status.success(), "{}", text(&output));
    let picture = reader.join().unwrap();
    assert!(image::load_from_memory(&picture).is_ok());
    assert!(path("pipe.png").metadata().unwrap().file_type().is_fifo());

    std::fs::write(path("old.png"), "what was there before").unwrap();
    for (link, target) in [("link.png", "old.png"), ("dangling.png", "new.png")] {
        std::os::unix::fs::symlink(target, path(link)).unwrap();
        let link = path(link).display().to_string();
        let output = generate(folder.path(), &[&options[..], &[&link]].concat());
        assert!(output.status.success(), "{}", text(&output));
        assert!(Path::new(&link).is_symlink());
        assert!(std::fs::read(path(target)).unwrap() == picture, "{target}");
    }
}

#[test]
fn a_huge_number_of_pictures_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.png").display().to_string();
    for number in ["9000000000000", "5", "0", "-1"] {
        let output = generate(folder.path(), &["a heart", "-o", &file, "--num-images", number]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("num_images (--num-images)"), "{}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_request_has_a_flag() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = |name: &str, options: &[&str], server: bool| {
        let file = path(&format!("{name}.png"));
        let args = [&["a red heart", "-o", &file, "--seed", "3", "--steps", "6"], options].concat();
        let server = if server { &["--server", &*address][..] } else { &[] };
        let output = generate(folder.path(), &[&args[..], server].concat());
        assert!(output.status.success(), "{options:?}: {}", text(&output));
        std::fs::read(file).unwrap()
    };
    let plain = made("plain", &[], false);
    for options in [
        &["--guidance-scale", "1.5"][..],
        &["--scheduler", "EulerAncestralDiscrete"],
        &["--scheduler", "DPM++ 2M Karras"],
        &["--scheduler-config", r#"{"use_karras_sigmas":true}"#],
        &["--preset", "hyper"],
        &["--negative-prompt", "-"],
        &["--guidance-rescale", "0.7"],
    ] {
        let alone = made("alone", options, false);
        assert!(alone != plain, "{options:?} changes nothing");
        assert!(alone == made("served", options, true), "{options:?} is another picture by a server");
    }
    let previews = |options: &[&str], server: bool| {
        let shown = path("previews");
        let _ = std::fs::remove_dir_all(&shown);
        made("seen", &[options, &["--preview-dir", &shown]].concat(), server);
        let entries = std::fs::read_dir(&shown).unwrap().map(Result::unwrap);
        let mut entries: Vec<_> =
            entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect();
        entries.sort();
        entries
    };
    for server in [false, true] {
        let often = previews(&["--preview-every", "2"], server);
        let names: Vec<_> = often.iter().map(|(name, _)| name.to_string_lossy()).collect();
        assert!(
            names.contains(&"preview-04.jpg".into()) && !names.contains(&"preview-05.jpg".into()),
            "{names:?}"
        );
        assert!(previews(&["--preview-every", "0"], server).is_empty());
        let latents = previews(&["--preview-every", "2", "--preview-source", "latents"], server);
        assert!(latents != often, "the same previews of both sources");
    }
}

/// A server and a `generate` with a running job, the job's URL, and the path of the picture.
async fn at_work(folder: &Path) -> (Process, Process, String, PathBuf) {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let out = folder.join("out.png");
    let file = out.display().to_string();
    let args = [
        "generate", "x", "-o", &file, "--server", &address, "--steps", "50", "--width", "512", "--height",
        "512", "--log", "info",
    ];
    let client = Process::start("glimpse", &args);
    let begun = Instant::now();
    loop {
        let workers = super::stack::client().get(format!("{address}/v1/workers")).send().await.unwrap();
        let workers: Value = workers.json().await.unwrap();
        let said = client.log();
        let id = said.split_once("job_id=").and_then(|(_, rest)| rest.get(..36));
        if let Some(id) = id.filter(|_| workers["workers"][0]["state"] == "busy") {
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
async fn a_truncated_prompt_gives_a_warning() {
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
