//! The history: the same picture again, after a reload too. The pictures are the demo model's.

use std::io::Cursor;

use image::GenericImageView;

use crate::{browser::Look, page::visit, process::demo, stage::Stage};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_settings_give_the_same_picture_after_a_reload_too() {
    let (_serve, address) = demo(&[]).await;
    visit(Look::Desk, &address, async |page| {
        page.fill("Steps", "3").await;
        page.fill("Seed", "42").await;
        page.generate("a red heart on a white background").await;
        let first = page.finished().await.pictures.remove(0);
        let pixels = page.bytes_of(&first).await;

        // Other settings, and the page of another visit.
        page.browser.driver.goto("about:blank").await.unwrap();
        page.browser.driver.goto(&address).await.unwrap();
        page.fill("Prompt", "something else").await;
        page.fill("Steps", "9").await;
        page.fill("Seed", "1").await;
        page.press("Same settings again").await;
        page.until("the settings", async || page.value_of("Seed").await == "42").await;
        let settings = (page.value_of("Prompt").await, page.value_of("Steps").await);
        assert_eq!(settings, ("a red heart on a white background".to_owned(), "3".to_owned()));

        if page.is_enabled("Generate").await {
            page.press("Generate").await;
        }
        page.shows("the picture", |shown| shown.has("Picture")).await;
        page.until("the second job", async || page.jobs_sent().await == 2).await;
        page.until("the end of the second job", async || !page.is_enabled("Cancel").await).await;
        let again = page.finished().await.pictures.remove(0);
        assert!(page.bytes_of(&again).await == pixels, "the same settings gave another picture");
        let both = page.find_all(&["button", "link"], "Same settings again").await.len();
        assert_eq!(both, 2, "the history has both pictures");
        page.is_accessible("history").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_nobody_chose_is_known_afterwards() {
    let (_serve, address) = demo(&[]).await;
    visit(Look::Desk, &address, async |page| {
        page.fill("Steps", "1").await;
        page.generate("a blue square").await;
        let first = page.finished().await.pictures.remove(0);
        let pixels = page.bytes_of(&first).await;
        page.press("Same settings again").await;
        page.until("the seed", async || !page.value_of("Seed").await.is_empty()).await;
        page.press("Generate").await;
        page.until("the second job", async || page.jobs_sent().await == 2).await;
        page.until("the end of the second job", async || !page.is_enabled("Cancel").await).await;
        let again = page.finished().await.pictures.remove(0);
        assert!(page.bytes_of(&again).await == pixels, "the same settings gave another picture");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_the_picture_that_the_page_shows() {
    let (_serve, address) = demo(&[]).await;
    visit(Look::Desk, &address, async |page| {
        page.fill("Steps", "2").await;
        page.generate("a green triangle").await;
        let shown = page.finished().await.pictures.remove(0);
        let pixels = page.bytes_of(&shown).await;
        page.press("Download").await;
        let file = image::open(page.browser.download().await).unwrap();
        assert_eq!(file.dimensions(), (128, 128));
        // Another decoder may round otherwise, by a little.
        let shown = decoded(&pixels);
        let apart = shown.to_rgb8().iter().zip(file.to_rgb8().iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart.unwrap() <= 8, "the pictures differ by {apart:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pictures_are_shown_side_by_side() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        for (prompt, jobs) in [("a red heart", 1), ("a blue square", 2)] {
            page.generate(prompt).await;
            stage.claim().await.complete().await;
            page.until("the history", async || page.find_all(&["button"], "Compare").await.len() == jobs).await;
        }
        for compare in page.find_all(&["button"], "Compare").await {
            compare.click().await.unwrap();
        }
        let script = "
            return [...document.querySelectorAll('dialog[open] img')].map((one) => [one.alt, one.naturalWidth]);";
        page.until("both pictures", async || {
            let shown = page.browser.script(script, Vec::new()).await;
            let alts: Vec<_> = shown.as_array().unwrap().iter().map(|one| one[0].to_string()).collect();
            alts.len() == 2
                && ["a red heart", "a blue square"].iter().all(|prompt| alts.iter().any(|alt| alt.contains(prompt)))
                && shown.as_array().unwrap().iter().all(|one| one[1] == 128)
        })
        .await;
        page.is_accessible("side-by-side").await;
        page.press("Close").await;
        page.finished().await;
    })
    .await;
}

/// The picture of a data URI.
fn decoded(url: &str) -> image::DynamicImage {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let bytes = STANDARD.decode(url.split_once(";base64,").unwrap().1).unwrap();
    image::ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap().decode().unwrap()
}
