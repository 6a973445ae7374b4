//! `--model owner/name`: the binaries read the Hub's address, its cache and the token from their environment.

use std::{path::Path, process::Command};

use glimpse_test_support::{
    HubServer,
    files::{Answer, FileServer},
};

use super::stack::binary;

fn demo() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")
}

/// A binary with this Hub and an empty home folder.
fn command(name: &str, home: &Path, server: &HubServer) -> Command {
    let mut command = Command::new(binary(name));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("HF_HOME", home)
        .env("HF_ENDPOINT", server.endpoint());
    for other in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"] {
        command.env_remove(other);
    }
    // The files are compared: a recipe has the name of the model and of the LoRA.
    command.env("HF_TOKEN", "hf_secret").env("GLIMPSE_NO_METADATA", "1");
    command
}

#[test]
fn a_model_of_the_hub_draws_what_the_folder_draws() {
    let (server, home) = (HubServer::of("glimpse/demo", &demo()), tempfile::tempdir().unwrap());
    let draw = |model: &str, offline: &str| {
        let out = home.path().join("out.png");
        let mut command = command("glimpse", home.path(), &server);
        command.args(["generate", "a red heart on a white background", "--seed", "1", "--steps", "2"]);
        command.args(["--width", "64", "--height", "64", "--model", model, "--taesd", "models/demo/taesd"]);
        let run = command.env("HF_HUB_OFFLINE", offline).arg("-o").arg(&out).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        std::fs::read(out).unwrap()
    };
    let from_folder = draw("models/demo", "");
    assert_eq!(server.requests(), []);
    assert!(draw("glimpse/demo", "") == from_folder);
    let asked = server.requests();
    assert!(asked.iter().any(|asked| asked.authorization.as_deref() == Some("Bearer hf_secret")));
    assert!(home.path().join("hub/models--glimpse--demo").is_dir());
    assert!(draw("glimpse/demo", "1") == from_folder);
    assert_eq!(server.requests(), [], "offline");
}

#[test]
fn a_lora_of_the_hub_or_a_url_draws_what_the_file_draws() {
    let variants = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker/tests/parity/variants");
    let lora = std::fs::read(variants.join("kohya_sgm.safetensors")).unwrap();
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, files) = (HubServer::of("me/style", folder.path()), FileServer::start());
    server.put("pytorch_lora_weights.safetensors", &lora);
    files.on("/a", [Answer::File(lora)]);
    let draw = |args: &[&str]| {
        let out = home.path().join("out.png");
        let mut command = command("glimpse", home.path(), &server);
        command
            .args(["generate", "a heart", "--seed", "1", "--steps", "2", "--width", "64", "--height", "64"]);
        command.args(["--model", "worker/tests/parity/model", "--taesd", "worker/tests/parity/taesdxl"]);
        command.args(args).arg("--lora-cache").arg(home.path().join("loras"));
        (command.arg("-o").arg(&out).output().unwrap(), std::fs::read(out))
    };
    let drawn = |args: &[&str]| {
        let (run, picture) = draw(args);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        picture.unwrap()
    };
    let by_name = drawn(&["--lora", "kohya_sgm:0.8", "--lora-dir", variants.to_str().unwrap()]);
    assert!(drawn(&[]) != by_name, "the LoRA changes the picture");
    assert!(drawn(&["--lora", "hf://me/style:0.8", "--allow-lora-hub"]) == by_name);
    let url = format!("{}:0.8", files.url("/a?token=swordfish"));
    let urls = ["--lora", &url, "--allow-lora-urls"];
    assert!(drawn(&[&urls[..], &["--allow-lora-hosts", "127.0.0.1"]].concat()) == by_name);
    assert_eq!(files.requests().len(), 1);
    for (args, part) in [(&urls[..2], "--allow-lora-urls"), (&urls[..], "is not allowed")] {
        let (run, _) = draw(args);
        let text = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.code() == Some(2) && text.contains(part), "{text}");
        assert!(!text.contains("swordfish"), "{text}");
    }
    assert_eq!(files.requests().len(), 0);
}

#[test]
fn a_worker_whose_model_is_refused_says_what_to_do() {
    let (server, home) = (HubServer::of("glimpse/demo", &demo()), tempfile::tempdir().unwrap());
    server.refuse(403, "GatedRepo");
    // No Redis is asked for anything before the model is loaded.
    let flags = ["--redis-url", "redis://127.0.0.1:1", "--model", "glimpse/demo", "--app", "glimpse/demo"];
    let run = command("glimpse-worker", home.path(), &server).args(flags).output().unwrap();
    let log = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{log}");
    assert!(log.contains("glimpse/demo") && log.contains("accept the model's licence"), "{log}");
    assert!(!log.contains("hf_secret"), "{log}");
}
