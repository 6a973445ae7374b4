//! A job goes on while the page is reloaded, the network is away, and the server starts again.

use crate::{
    browser::Look,
    page::{Page, visit, visit_expecting},
    stage::{Running, Stage},
};

/// What the console says of a server that is away.
const AWAY: [&str; 3] = ["net::ERR_", "Failed to load resource", "TypeError: network error"];

/// A job whose first preview is on the page.
async fn under_way(page: &Page, stage: &mut Stage) -> Running {
    page.generate("a red heart").await;
    let mut job = stage.claim().await;
    job.preview(0).await;
    page.shows("the preview", |shown| shown.has("Preview")).await;
    job
}

/// The job goes on to its end, and the browser has sent only this one.
async fn goes_on(page: &Page, stage: &Stage, mut job: Running) {
    let before = page.shown().await.pictures;
    job.preview(5).await;
    page.shows("the next preview", |shown| shown.has("Preview") && shown.pictures != before).await;
    job.complete().await;
    page.finished().await;
    assert_eq!((page.jobs_sent().await, stage.jobs().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_follows_the_running_job_and_sends_nothing_again() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        let job = under_way(page, &mut stage).await;
        page.reload().await;
        page.shows("the newest preview", |shown| shown.has("Preview")).await;
        assert!(page.is_enabled("Cancel").await);
        goes_on(page, &stage, job).await;

        page.reload().await;
        page.finished().await;
        assert_eq!((page.jobs_sent().await, stage.jobs().await), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_while_the_job_waits_follows_it() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        page.generate("a red heart").await;
        page.until("the job", async || stage.jobs().await == 1).await;
        page.until("its address", async || {
            page.browser.script("return location.href", Vec::new()).await != format!("{address}/")
        })
        .await;
        page.reload().await;
        page.until("Cancel to be enabled", async || page.is_enabled("Cancel").await).await;
        let mut job = stage.claim().await;
        job.preview(0).await;
        page.shows("the preview", |shown| shown.has("Preview")).await;
        page.press("Cancel").await;
        page.says("cancelled").await;
        assert_eq!((page.jobs_sent().await, stage.jobs().await), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_the_browser_was_offline() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit_expecting(&AWAY, Look::Desk, &address, async |page| {
        let job = under_way(page, &mut stage).await;
        let before = page.shown().await.status;
        page.browser.go_offline(true).await;
        // What is open stays open: only the proxy can end it.
        stage.unplug(true);
        page.shows("that the connection is lost", |shown| shown.status != before).await;
        page.is_accessible("offline").await;
        stage.unplug(false);
        page.browser.go_offline(false).await;
        goes_on(page, &stage, job).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_its_connections_were_cut() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit_expecting(&AWAY, Look::Desk, &address, async |page| {
        let job = under_way(page, &mut stage).await;
        stage.proxy.cut();
        goes_on(page, &stage, job).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_the_api_was_killed_and_started_again() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit_expecting(&AWAY, Look::Desk, &address, async |page| {
        let job = under_way(page, &mut stage).await;
        stage.restart_api().await;
        goes_on(page, &stage, job).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_server_says_so_and_sends_when_it_is_back() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit_expecting(&AWAY, Look::Desk, &address, async |page| {
        page.until("Generate to be enabled", async || page.is_enabled("Generate").await).await;
        stage.unplug(true);
        page.generate("a red heart").await;
        page.shows("that the server is away", |shown| {
            let said = format!("{} {}", shown.status, shown.alerts).to_lowercase();
            ["offline", "does not answer", "connection", "network"].iter().any(|word| said.contains(word))
        })
        .await;
        assert_eq!(page.value_of("Prompt").await, "a red heart", "the prompt is lost");
        stage.unplug(false);
        page.press("Generate").await;
        stage.claim().await.complete().await;
        page.finished().await;
        assert_eq!(stage.jobs().await, 1);
    })
    .await;
}
