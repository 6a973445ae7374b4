//! From the prompt to the picture.

use image::GenericImageView;

use crate::{
    browser::Look,
    page::{Page, visit},
    stage::{SIDE, Stage},
};

/// What is always there and always enabled.
async fn controls_are_there(page: &Page) {
    for field in ["Prompt", "Steps", "Seed"] {
        page.field(field).await;
    }
    assert!(!page.is_enabled("Cancel").await, "nothing runs that could be cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_forms_step_by_step() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        controls_are_there(page).await;
        page.until("Generate to be enabled", async || page.is_enabled("Generate").await).await;
        assert_eq!(page.shown().await.pictures, []);
        page.is_accessible("empty").await;

        page.fill("Steps", "4").await;
        page.fill("Seed", "11").await;
        page.generate("a red heart").await;
        page.until("Cancel to be enabled", async || page.is_enabled("Cancel").await).await;
        page.is_accessible("waiting").await;

        let mut job = stage.claim().await;
        let spec = &job.lease.job.spec;
        assert_eq!((spec.prompt(), spec.num_inference_steps(), spec.seed()), ("a red heart", 4, 11));
        let mut seen = Vec::new();
        for step in 0..3 {
            job.preview(step).await;
            let shown = page
                .shows(&format!("the preview of step {step}"), |shown| {
                    shown.has("Preview") && !seen.contains(&shown.pictures[0].src)
                })
                .await;
            seen.push(shown.pictures[0].src.clone());
            let [value, most] = shown.progress.expect("a progress bar");
            assert_eq!(value / most, f64::from(step + 1) / 4.0, "{value} of {most}");
        }
        assert!(!page.shown().await.status.is_empty());
        page.is_accessible("forming").await;

        job.complete().await;
        let shown = page.finished().await;
        assert!(!seen.contains(&shown.pictures[0].src), "the preview stayed");
        page.until("Cancel to be disabled", async || !page.is_enabled("Cancel").await).await;
        page.is_accessible("done").await;

        page.press("Download").await;
        let picture = image::open(page.browser.download().await).unwrap();
        assert_eq!(picture.dimensions(), (SIDE, SIDE));
        assert_eq!(page.jobs_sent().await, 1);
        assert_eq!(stage.jobs().await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_picture_takes_the_place_of_the_first() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        page.generate("one").await;
        stage.claim().await.complete().await;
        page.finished().await;

        page.generate("two").await;
        let mut job = stage.claim().await;
        assert_eq!(job.lease.job.spec.prompt(), "two");
        job.preview(0).await;
        page.shows("the preview", |shown| shown.has("Preview")).await;
        job.complete().await;
        page.finished().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_makes_several_pictures() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit(Look::Desk, &address, async |page| {
        page.fill("Number of images", "3").await;
        page.generate("three red hearts").await;
        let job = stage.claim().await;
        assert_eq!(job.lease.job.spec.num_images(), 3);
        job.complete().await;
        let first = page.finished().await.pictures;
        let kept = async || page.find_all(&["button"], "Same settings again").await.len() == 3;
        page.until("three pictures in the history", kept).await;
        page.press("Number 3 of 3").await;
        page.shows("the third picture", |shown| shown.has("Picture") && shown.pictures != first).await;
        page.is_accessible("several").await;
    })
    .await;
}
