//! The page without a mouse.

use thirtyfour::{Key, TypingData};

use crate::{
    browser::Look,
    page::{Page, visit},
    stage::Stage,
};

/// The accessible name of the element with the focus.
async fn focused(page: &Page) -> String {
    let element = page.browser.driver.active_element().await.unwrap();
    page.browser.name_of(&element).await
}

async fn type_keys(page: &Page, keys: impl Into<TypingData>) {
    page.browser.driver.action_chain().send_keys(keys).perform().await.unwrap();
}

/// Puts the focus before the first element of the page.
async fn begin_at_the_top(page: &Page) {
    let script = "
        document.body.tabIndex = -1;
        document.body.focus();
        document.body.removeAttribute('tabindex');";
    page.browser.script(script, Vec::new()).await;
}

/// Presses Tab until the element with this name has the focus.
async fn tab_to(page: &Page, name: &str) {
    let mut passed = Vec::new();
    while focused(page).await != name {
        assert!(passed.len() < 100, "Tab never reaches {name}: {passed:?}");
        passed.push(focused(page).await);
        type_keys(page, Key::Tab).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_made_without_a_mouse() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        page.until("Generate to be enabled", async || page.is_enabled("Generate").await).await;
        begin_at_the_top(page).await;
        tab_to(page, "Prompt").await;
        type_keys(page, "a red heart").await;
        tab_to(page, "Steps").await;
        type_keys(page, Key::Control + "a").await;
        type_keys(page, "7").await;
        tab_to(page, "Generate").await;
        type_keys(page, Key::Enter).await;
        let mut job = stage.claim().await;
        assert_eq!(
            (job.lease.job.spec.prompt(), job.lease.job.spec.num_inference_steps()),
            ("a red heart", 7)
        );
        job.preview(0).await;
        page.shows("the preview", |shown| shown.has("Preview")).await;
        tab_to(page, "Cancel").await;
        type_keys(page, " ").await;
        page.says("cancelled").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tab_goes_through_the_whole_page_and_shows_where_it_is() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        page.generate("a red heart").await;
        stage.claim().await.complete().await;
        page.finished().await;
        begin_at_the_top(page).await;
        let mut order = Vec::new();
        loop {
            type_keys(page, Key::Tab).await;
            let script = "
                const one = document.activeElement;
                if (one === document.body) return null;
                const style = getComputedStyle(one);
                return { seen: style.outlineStyle !== 'none' || style.boxShadow !== 'none',
                         name: one.textContent || one.id };";
            let at = page.browser.script(script, Vec::new()).await;
            let name = focused(page).await;
            if at.is_null() || order.contains(&(name.clone(), at.to_string())) {
                break;
            }
            assert_eq!(at["seen"], true, "the focus on {name:?} cannot be seen: {at}");
            order.push((name, at.to_string()));
            assert!(order.len() < 200, "Tab does not come to an end: {order:?}");
        }
        let place = |name: &str| {
            order.iter().position(|(one, _)| one == name).unwrap_or_else(|| panic!("{name}: {order:?}"))
        };
        // Cancel is disabled, and Tab passes it by.
        let places = ["Prompt", "Generate", "Download", "Copy as curl"].map(place);
        assert!(places.is_sorted(), "{order:?}");
        place("Steps");
        place("Seed");
        place("Same settings again");
    })
    .await;
}
