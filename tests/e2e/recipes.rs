//! The recipe in a picture: `glimpse generate --from` makes the picture again, and readers of other people read it.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{
    sdk::PYTHON,
    stack::{Process, binary},
};

const PARITY: [&str; 4] = ["--model", "worker/tests/parity/model", "--taesd", "worker/tests/parity/taesdxl"];

fn generate(args: &[&str]) -> Output {
    let mut command = Command::new(binary("glimpse"));
    command.arg("generate").args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().unwrap()
}

/// Runs it, which must succeed.
fn made(args: &[&str]) {
    let output = generate(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs it, which must be refused with a text that has all of these parts.
fn refused(args: &[&str], parts: &[&str]) {
    let output = generate(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{args:?}: {part} is not in {text}");
    }
}

fn pixels(path: &str) -> image::RgbImage {
    image::open(path).unwrap().to_rgb8()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_made_again_from_itself() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let prompt = "ein (rotes) Herz, <b> & \"zwei\": 狐\nauf Weiß";
    for (ending, options) in [
        (
            "png",
            &["--scheduler", "DPM++ 2M Karras", "--seed", "9007199254740992", "--guidance-scale", "3.3"][..],
        ),
        ("jpg", &["--scheduler", "Euler a", "--clip-skip", "1", "--guidance-rescale", "0.7"]),
        ("webp", &["--scheduler", "Euler", "--sigmas", "14,3,0.5,0", "--negative-prompt", ""]),
    ] {
        let [first, again, served] =
            ["first", "again", "served"].map(|name| file(&format!("{name}.{ending}")));
        let (small, steps) = (["--width", "64", "--height", "72"], ["--steps", "3"]);
        made(&[&[prompt, "-o", &first], &small[..], &steps, options].concat());
        made(&["--from", &first, "-o", &again]);
        made(&["--from", &first, "-o", &served, "--server", &address, "--app", "glimpse/demo"]);
        assert_eq!(pixels(&first), pixels(&again), "{ending}");
        assert_eq!(pixels(&first), pixels(&served), "{ending} by a server");
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&again).unwrap(), "{ending}: the same file");
        // A picture of the server has its recipe too, and flags win.
        let other = file(&format!("other.{ending}"));
        made(&["--from", &served, "-o", &other, "--seed", "3"]);
        assert_ne!(pixels(&first), pixels(&other), "{ending}: another seed");
    }
    let bare = file("bare.png");
    made(&["x", "-o", &bare, "--no-metadata", "--steps", "1", "--width", "64", "--height", "64"]);
    refused(&["--from", &bare, "-o", &file("none.png")], &["--from", "carries no recipe"]);
    refused(
        &["--from", "Cargo.toml", "-o", &file("none.png")],
        &["--from Cargo.toml", "input should be a PNG"],
    );
    let bytes = std::fs::read(&bare).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("parameters"));
    let [local, remote] = ["alone", "remote"].map(|name| file(&format!("{name}.png")));
    let options =
        ["a heart", "--no-metadata", "--seed", "1", "--steps", "2", "--width", "64", "--height", "64"];
    made(&[&options[..], &["-o", &local]].concat());
    made(&[&options[..], &["-o", &remote, "--server", &address]].concat());
    assert!(
        std::fs::read(local).unwrap() == std::fs::read(remote).unwrap(),
        "a request can ask for no recipe"
    );
}

#[test]
fn one_of_several_pictures_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let base = ["a heart", "--steps", "2", "--width", "64", "--height", "64"];
    for (name, options) in
        [("batch", &["--num-images", "2", "--seed", "5"][..]), ("seeds", &["--seeds", "5,9"])]
    {
        let (out, again) = (file(&format!("{name}.png")), file(&format!("{name}-again.png")));
        made(&[&base[..], options, &["-o", &out]].concat());
        made(&["--from", &file(&format!("{name}-2.png")), "-o", &again]);
        assert_eq!(pixels(&file(&format!("{name}-2.png"))), pixels(&again), "{name}");
        assert_ne!(pixels(&file(&format!("{name}-1.png"))), pixels(&again), "{name}");
    }
}

#[test]
fn a_recipe_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let small = ["--steps", "2", "--width", "64", "--height", "64"];
    let variants = "worker/tests/parity/variants";
    let with_lora = ["--lora", "kohya_sgm:0.8", "--lora-dir", variants];
    let (lora, again) = (file("lora.png"), file("again.png"));
    made(&[&["a heart", "-o", &lora], &small[..], &PARITY, &with_lora].concat());
    made(&[&["--from", &lora, "-o", &again, "--lora-dir", variants], &PARITY[..]].concat());
    assert_eq!(pixels(&lora), pixels(&again));
    // The demo model is another one.
    refused(&["--from", &lora, "-o", &again], &["made with the model model", "this is demo", "--model"]);
    let none = folder.path().join("none");
    std::fs::create_dir(&none).unwrap();
    let elsewhere = ["--from", &lora, "-o", &again, "--lora-dir", none.to_str().unwrap()];
    let elsewhere = [&elsewhere[..], &PARITY].concat();
    refused(&elsewhere, &["kohya_sgm"]);
    // Another file of the same name.
    let mut other = std::fs::read(format!("{variants}/kohya_sgm.safetensors")).unwrap();
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(none.join("kohya_sgm.safetensors"), other).unwrap();
    refused(&elsewhere, &["another file kohya_sgm", "SHA-256"]);

    let picture = "docs/images/forming.png";
    let (edited, again) = (file("edited.webp"), file("edited-again.webp"));
    made(&[&["a heart", "-o", &edited, "--image", picture, "--strength", "0.9"], &small[..]].concat());
    refused(&["--from", &edited, "-o", &again], &["--image", "does not contain"]);
    made(&["--from", &edited, "-o", &again, "--image", picture]);
    assert_eq!(pixels(&edited), pixels(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_peoples_readers_read_a_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let (latin, any) = ("a café, \"blue\": (x)", "狐 und Füchse, 🦊");
    let mut files = Vec::new();
    for (name, prompt) in [("latin", latin), ("any", any)] {
        for ending in ["png", "jpg", "webp"] {
            let path = folder.path().join(format!("{name}.{ending}")).display().to_string();
            let options =
                ["--seed", "42", "--steps", "3", "--scheduler", "DPM++ 2M Karras", "--guidance-scale", "6.5"];
            let size = ["--width", "64", "--height", "72", "--negative-prompt", "grey, \"dull\""];
            made(&[&[prompt, "-o", &path], &options[..], &size].concat());
            files.push((prompt, path));
        }
    }
    let mut run = Command::new(PYTHON);
    run.arg("tests/sdk/recipe.py")
        .args(files.iter().map(|(_, path)| path))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let run = run.output().unwrap_or_else(|error| panic!("{PYTHON}: {error}; scripts/test installs it"));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let seen: Value = serde_json::from_slice(&run.stdout).unwrap();
    for (prompt, path) in &files {
        let read = &seen[path]["sd_parsers"];
        let hash = read["model_hash"].as_str().unwrap();
        assert!(hash.len() == 10 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()), "{hash}");
        let expected = json!({
            "generator": "AUTOMATIC1111", "prompt": prompt, "negative": "grey, \"dull\"", "sampler": "DPM++ 2M",
            "schedule": "Karras", "steps": "3", "seed": "42", "guidance": "6.5", "model": "demo", "model_hash": hash,
            "size": "64x72",
        });
        assert_eq!(read, &expected, "{path}");
        let pillow = &seen[path]["pillow"];
        assert_eq!(pillow["size"], "64x72");
        let text = pillow["text"].as_str().unwrap();
        let (head, last) = text.rsplit_once('\n').unwrap();
        assert_eq!(head, format!("{prompt}\nNegative prompt: grey, \"dull\""), "{path}");
        assert!(last.starts_with(
            "Steps: 3, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 42, Size: 64x72"
        ));
        assert!(pillow["xmp"].as_str().unwrap().contains("urn:glimpse:recipe:1#"), "{path}");
    }
}
