//! A server with keys: the page asks for one, and keeps it for the visit.

use std::process::Command;

use crate::{browser::Look, page::visit_expecting, process::demo};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_for_a_key_and_keeps_it_for_the_visit() {
    let made = Command::new(env!("CARGO_BIN_EXE_glimpse")).args(["key", "alice"]).output().unwrap();
    let said = String::from_utf8(made.stdout).unwrap();
    let (key, entry) = said.split_once("\n\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, entry).unwrap();
    let (_serve, address) = demo(&["--keys-file", file.to_str().unwrap()]).await;

    visit_expecting(&["401", "403"], Look::Desk, &address, async |page| {
        let field = page.find(&["textbox", "generic", "none", ""], "Key").await;
        page.is_accessible("key").await;
        field.send_keys("wrong\n").await.unwrap();
        page.shows("that the key is wrong", |shown| {
            format!("{} {}", shown.status, shown.alerts).to_lowercase().contains("key")
        })
        .await;
        let field = page.find(&["textbox", "generic", "none", ""], "Key").await;
        field.clear().await.unwrap();
        field.send_keys(&format!("{key}\n")).await.unwrap();

        page.fill("Steps", "20").await;
        page.generate("a red heart").await;
        page.finished().await;
        page.reload().await;
        page.fill("Steps", "1").await;
        page.generate("a blue square").await;
        page.until("the second job", async || page.jobs_sent().await == 2).await;
        page.until("its end", async || !page.is_enabled("Cancel").await).await;
        page.finished().await;

        let sent = page.browser.sent().await;
        assert!(sent.iter().all(|one| !one.url.contains(key)), "the key is in an address");
        let kept =
            "return [localStorage, document.cookie, location.href].map((one) => JSON.stringify(one)).join()";
        let kept = page.browser.script(kept, Vec::new()).await;
        assert!(!kept.as_str().unwrap().contains(key), "the key outlives the visit: {kept}");
    })
    .await;
}
