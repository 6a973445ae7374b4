//! The fleet view.

use crate::{browser::Look, page::visit, stage::Stage};

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_view_names_the_apps_and_the_workers() {
    let stage = Stage::with(&[], |worker| worker.device = "cuda:7".to_owned()).await;
    visit(Look::Desk, &stage.address(), async |page| {
        page.until("Generate to be enabled", async || page.is_enabled("Generate").await).await;
        // The workers are asked for when somebody looks.
        page.browser.script("window.scrollTo(0, document.body.scrollHeight)", Vec::new()).await;
        page.shows("the app", |shown| shown.text.contains("glimpse/demo")).await;
        page.shows("the device", |shown| shown.text.contains("cuda:7")).await;
        page.is_accessible("fleet").await;
    })
    .await;
}
