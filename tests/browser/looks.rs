//! The page on a phone, in the dark, and with large text.

use serde_json::json;

use crate::{
    browser::Look,
    page::{Page, visit},
    stage::Stage,
};

/// The least side of a button, in CSS pixels.
const LEAST: f64 = 24.0;

/// Every pinned control can be seen, is large enough and inside the page.
async fn controls_can_be_used(page: &Page, after: bool) {
    let (page_width, window) = page.widths().await;
    assert!(page_width <= window, "the page is {page_width} pixels wide in a window of {window}");
    let always = ["Prompt", "Steps", "Seed", "Generate", "Cancel"];
    let with_picture = ["Download", "Copy as curl", "Copy as Python", "Copy as JavaScript"];
    for name in always.into_iter().chain(with_picture.into_iter().filter(|_| after)) {
        let control = page.find(&["textbox", "spinbutton", "button", "link"], name).await;
        let area = control.rect().await.unwrap();
        let (x, width, height) = (area.x, area.width, area.height);
        assert!(width >= LEAST && height >= LEAST, "{name} is {width} to {height} pixels");
        assert!(x >= 0.0 && x + width <= window, "{name} is outside: {x} + {width} in {window}");
    }
    let small = page
        .browser
        .script(
            "return [...document.querySelectorAll('button,summary,input[type=checkbox],input[type=radio]')]
               .filter((one) => one.checkVisibility({ visibilityProperty: true }))
               .map((one) => [one.closest('label') ?? one, one.textContent || one.id])
               .map(([one, name]) => [name, one.getBoundingClientRect()])
               .filter(([, { width, height }]) => width < arguments[0] || height < arguments[0])
               .map(([name, { width, height }]) => `${name}: ${width} to ${height}`);",
            vec![json!(LEAST)],
        )
        .await;
    assert_eq!(small, json!([]), "too small");
}

/// Whether the page's ground is darker than its text.
async fn is_dark(page: &Page) -> bool {
    let script = "
        const { color, backgroundColor } = getComputedStyle(document.body);
        const light = (text) => text.match(/[0-9.]+/g).slice(0, 3).reduce((sum, one) => sum + Number(one), 0);
        return light(backgroundColor) < light(color);";
    page.browser.script(script, Vec::new()).await == json!(true)
}

async fn in_every_state(look: Look, name: &str) {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(look, &address, async |page| {
        page.until("Generate to be enabled", async || page.is_enabled("Generate").await).await;
        assert_eq!(is_dark(page).await, look == Look::Dark);
        controls_can_be_used(page, false).await;
        page.is_accessible(&format!("{name}-empty")).await;
        page.generate("a red heart").await;
        let mut job = stage.claim().await;
        job.preview(0).await;
        page.shows("the preview", |shown| shown.has("Preview")).await;
        controls_can_be_used(page, false).await;
        page.is_accessible(&format!("{name}-forming")).await;
        job.complete().await;
        page.finished().await;
        controls_can_be_used(page, true).await;
        page.is_accessible(&format!("{name}-done")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_used_on_a_phone() {
    in_every_state(Look::Phone, "phone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_used_in_the_dark() {
    in_every_state(Look::Dark, "dark").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_used_with_text_of_twice_the_size() {
    in_every_state(Look::LargeText, "large-text").await;
}
