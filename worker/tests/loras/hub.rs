//! LoRAs of the Hub.

use std::time::Duration;

use glimpse_test_support::{
    HubServer,
    files::{lora, safetensors},
};
use glimpse_worker::{
    hub::{HubOptions, Token},
    loras::LoraError,
};

use crate::props::{SECRET, Story, downloader, only};

const FILE: &str = "pytorch_lora_weights.safetensors";

fn hub(server: &HubServer) -> HubOptions {
    let token = Token::new(SECRET);
    HubOptions { token, tries: 2, pause: Duration::ZERO, ..HubOptions::new(server.endpoint(), "") }
}

fn story(options: &HubOptions) -> Story {
    let folder = tempfile::tempdir().unwrap();
    let downloader = downloader(folder.path(), only("127.0.0.1"), Some(options.clone()));
    Story { folder, downloader }
}

fn server(files: &[(&str, Vec<u8>)]) -> HubServer {
    let server = HubServer::of("me/style", tempfile::tempdir().unwrap().path());
    files.iter().for_each(|(name, file)| server.put(name, file));
    server
}

#[tokio::test]
async fn a_lora_of_the_hub_is_downloaded_once_and_used_without_the_hub() {
    let server = server(&[(FILE, lora(20_000, 1)), ("other.safetensors", lora(10, 2))]);
    let options = hub(&server);
    let mut story = story(&options);
    assert_eq!(story.load("hf://me/style").await, Ok(lora(20_000, 1)));
    let asked = server.requests();
    let with_token = asked.iter().filter(|asked| asked.authorization.is_some());
    assert!(with_token.clone().count() > 0 && with_token.clone().all(|asked| !asked.cdn));
    assert_eq!(story.load("hf://me/style@main/other.safetensors").await, Ok(lora(10, 2)));
    server.requests();
    assert_eq!(story.load("hf://me/style").await, Ok(lora(20_000, 1)));
    assert!(server.downloads().is_empty());
    drop(server);
    assert_eq!(story.load("hf://me/style").await, Ok(lora(20_000, 1)), "the kept copy");
    assert!(matches!(story.load("hf://me/other").await, Err(LoraError::Fault(_))));
    let offline = HubOptions { offline: true, ..options };
    story.downloader = downloader(story.folder.path(), only("127.0.0.1"), Some(offline));
    assert_eq!(story.load("hf://me/style").await, Ok(lora(20_000, 1)));
}

#[tokio::test]
async fn what_the_hub_does_not_have_or_is_not_a_lora_is_refused() {
    let server = server(&[
        ("a.safetensors", safetensors("conv_in.weight", 100_000, 0)),
        ("b.safetensors", lora(10, 0)),
    ]);
    let story = story(&hub(&server));
    for (path, part) in [
        ("hf://me/none", "no repository"),
        ("hf://me/style@v9", "no revision \"v9\""),
        ("hf://me/style/c.safetensors", "no file c.safetensors"),
        ("hf://me/style", "(a.safetensors, b.safetensors)"),
        ("hf://me/style/a.safetensors", "neither a LoRA nor an embedding"),
    ] {
        let why = story.refusal(path).await;
        assert!(why.starts_with(&format!("{path}: ")) && why.contains(part), "{why}");
    }
    let blobs = story.folder.path().join("hub/models--me--style/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0, "nothing of it stays");
    server.refuse(403, "GatedRepo");
    assert!(story.refusal("hf://me/style").await.contains("refuses access"));
}

#[tokio::test]
async fn a_damaged_copy_is_downloaded_again() {
    let server = server(&[(FILE, lora(20_000, 1))]);
    let story = story(&hub(&server));
    story.load("hf://me/style").await.unwrap();
    let blobs = story.folder.path().join("hub/models--me--style/blobs");
    let blob = std::fs::read_dir(blobs).unwrap().next().unwrap().unwrap().path();
    std::fs::write(blob, &lora(20_000, 1)[..9000]).unwrap();
    assert_eq!(story.load("hf://me/style").await, Ok(lora(20_000, 1)));
}
