//! Jobs that end without a picture.

use crate::{browser::Look, page::visit, stage::Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_cancelled() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        page.generate("a red heart").await;
        let mut job = stage.claim().await;
        job.preview(0).await;
        page.shows("the preview", |shown| shown.has("Preview")).await;

        page.press("Cancel").await;
        page.says("cancelled").await;
        page.until("Cancel to be disabled", async || !page.is_enabled("Cancel").await).await;
        assert!(page.is_enabled("Generate").await);
        page.is_accessible("cancelled").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_cancelled() {
    let stage = Stage::start().await;
    visit(Look::Desk, &stage.address(), async |page| {
        page.generate("a red heart").await;
        page.press("Cancel").await;
        let shown = page.says("cancelled").await;
        assert_eq!(shown.pictures, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_says_why() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        page.generate("a red heart").await;
        stage.claim().await.fail("the device is on fire").await;
        page.shows("the reason", |shown| {
            [&shown.status, &shown.alerts].iter().any(|text| text.contains("the device is on fire"))
        })
        .await;
        page.until("Cancel to be disabled", async || !page.is_enabled("Cancel").await).await;
        assert!(page.is_enabled("Generate").await);
        page.is_accessible("failed").await;
    })
    .await;
}
