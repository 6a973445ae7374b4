//! Going on from a step of a picture, finishing early, and the recipe inside a picture. The pictures are the demo model's.

use serde_json::json;

use crate::{
    browser::Look,
    page::{Page, visit},
    process::demo,
};

/// Makes a picture, and returns its pixels.
async fn made(page: &Page, prompt: &str, steps: u32, seed: u32) -> String {
    page.fill("Steps", &steps.to_string()).await;
    page.fill("Seed", &seed.to_string()).await;
    page.generate(prompt).await;
    let picture = page.finished().await.pictures.remove(0);
    page.bytes_of(&picture).await
}

/// Waits for the end of the job that was sent as number `jobs`, and returns the pixels of its picture.
async fn made_next(page: &Page, jobs: usize) -> String {
    page.until("the next job", async || page.jobs_sent().await == jobs).await;
    page.until("its end", async || !page.is_enabled("Cancel").await).await;
    let picture = page.finished().await.pictures.remove(0);
    page.bytes_of(&picture).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_goes_on_from_a_step_without_changes_makes_the_same_picture() {
    let (_serve, address) = demo(&[]).await;
    visit(Look::Desk, &address, async |page| {
        let first = made(page, "a red heart on a white background", 12, 3).await;
        page.press("Step 1").await;
        page.press("Go on from step 1").await;
        page.shows("where it goes on", |shown| shown.text.contains("Going on from step 1 of 12")).await;
        page.is_accessible("branch").await;
        page.press("Generate").await;
        assert!(made_next(page, 2).await == first, "the same request went on to another picture");

        page.press("Step 1").await;
        page.press("Go on from step 1").await;
        page.fill("Prompt", "a blue square on a white background").await;
        page.press("Generate").await;
        assert!(made_next(page, 3).await != first, "another prompt went on to the same picture");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_chosen_can_be_left_again() {
    let (_serve, address) = demo(&[]).await;
    visit(Look::Desk, &address, async |page| {
        made(page, "a red heart on a white background", 12, 3).await;
        page.press("Step 1").await;
        page.press("Go on from step 1").await;
        page.press("Remove: Going on from step 1 of 12").await;
        page.press("Generate").await;
        made_next(page, 2).await;
        let text = page.shown().await.text;
        assert!(!text.contains("Going on from"), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_finished_early() {
    let (_serve, address) = demo(&[]).await;
    visit(Look::Desk, &address, async |page| {
        page.fill("Steps", "50").await;
        page.fill("Width", "512").await;
        page.fill("Height", "512").await;
        page.generate("a red heart on a white background").await;
        page.shows("the preview", |shown| shown.has("Preview")).await;
        page.press("Finish now").await;
        let shown = page.finished().await;
        assert!(shown.text.contains("Done, finished early."), "{}", shown.text);
        page.is_accessible("finished-early").await;
    })
    .await;
}

/// Drops a file on the page.
async fn drop_file(page: &Page, name: &str, bytes: &[u8]) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let script = "
        const bytes = Uint8Array.from(atob(arguments[1]), (letter) => letter.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], arguments[0], { type: 'image/jpeg' }));
        for (const kind of ['dragenter', 'dragover', 'drop']) {
          document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
        }";
    page.browser.script(script, vec![json!(name), json!(STANDARD.encode(bytes))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_dropped_fills_the_form_with_its_recipe() {
    let (_serve, address) = demo(&[]).await;
    visit(Look::Desk, &address, async |page| {
        let prompt = "a red heart on a white background";
        let first = made(page, prompt, 6, 21).await;
        page.press("Download").await;
        let picture = std::fs::read(page.browser.download().await).unwrap();
        page.fill("Prompt", "something else").await;
        page.fill("Steps", "2").await;
        page.fill("Seed", "1").await;
        drop_file(page, "heart.jpg", &picture).await;
        page.until("the recipe", async || page.value_of("Prompt").await == prompt).await;
        assert_eq!(
            (page.value_of("Steps").await, page.value_of("Seed").await),
            ("6".to_owned(), "21".to_owned())
        );
        page.is_accessible("recipe").await;
        page.press("Generate").await;
        assert!(made_next(page, 2).await == first, "the recipe gives another picture");
    })
    .await;
}
