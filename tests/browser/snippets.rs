//! What `Copy as …` writes into the clipboard works.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{browser::Look, page::visit, process::demo};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_makes_the_picture() {
    let (_serve, address) = demo(&[]).await;
    visit(Look::Desk, &address, async |page| {
        page.browser.allow_clipboard().await;
        // What shells and languages read in their own way.
        let prompt = "it's \"a\" $HOME `heart` \\ é";
        page.fill("Steps", "2").await;
        page.fill("Seed", "5").await;
        page.generate(prompt).await;
        page.finished().await;
        page.press("Download").await;
        let picture = std::fs::read(page.browser.download().await).unwrap();

        let node: &[&str] = &["node", "--input-type=module", "-e"];
        let runners: [(&str, &[&str]); 3] = [
            ("Copy as curl", &["sh", "-c"]),
            ("Copy as Python", &["python3", "-c"]),
            ("Copy as JavaScript", node),
        ];
        let mut copied: Vec<String> = Vec::new();
        for (name, runner) in runners {
            page.press(name).await;
            page.until("another text in the clipboard", async || {
                !copied.contains(&page.browser.clipboard().await)
            })
            .await;
            let snippet = page.browser.clipboard().await;
            assert!(snippet.contains(&address), "{snippet}");
            let folder = tempfile::tempdir().unwrap();
            let said = run(runner, &snippet, folder.path());
            let made = if name == "Copy as curl" { answered(&said) } else { written(folder.path()) };
            assert!(made == picture, "{name} makes another picture: {snippet}");
            copied.push(snippet);
        }
    })
    .await;
}

/// Runs a snippet in a folder, and returns what it prints.
fn run(runner: &[&str], snippet: &str, folder: &Path) -> Vec<u8> {
    let ran = Command::new(runner[0])
        .args(&runner[1..])
        .arg(snippet)
        .current_dir(folder)
        .envs(["NO_PROXY", "no_proxy"].map(|name| (name, "127.0.0.1")))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{snippet}\n{}", String::from_utf8_lossy(&ran.stderr));
    ran.stdout
}

/// The only picture of an answer.
fn answered(said: &[u8]) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let answer: Value = serde_json::from_slice(said).unwrap();
    let [picture] = &answer["images"].as_array().unwrap()[..] else { panic!("{answer}") };
    STANDARD.decode(picture["url"].as_str().unwrap().split_once(";base64,").unwrap().1).unwrap()
}

/// The only file in a folder.
fn written(folder: &Path) -> Vec<u8> {
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    std::fs::read(file).unwrap()
}
