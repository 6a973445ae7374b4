//! A wrong field is marked, and a text beside it says what is wrong.

use crate::{browser::Look, page::visit_expecting, stage::Stage};

/// What the console says of a refused request.
const REFUSED: [&str; 1] = ["422"];

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_field_says_what_is_wrong_with_it() {
    let mut stage = Stage::start().await;
    let address = stage.address();
    visit_expecting(&REFUSED, Look::Desk, &address, async |page| {
        page.fill("Prompt", "a red heart").await;
        for wrong in ["0", "100000", "-3"] {
            page.fill("Steps", wrong).await;
            page.press("Generate").await;
            page.until(&format!("what is wrong with {wrong} steps"), async || {
                page.complaint("Steps").await.is_some_and(|text| !text.is_empty())
            })
            .await;
            for right in ["Prompt", "Seed"] {
                assert_eq!(page.complaint(right).await, None, "{right} is right");
            }
        }
        page.is_accessible("wrong-field").await;
        assert_eq!(stage.jobs().await, 0, "a wrong request became a job");
        page.fill("Steps", "3").await;
        page.fill("Seed", "99999999999999999999").await;
        page.press("Generate").await;
        page.until("what is wrong with the seed", async || page.complaint("Seed").await.is_some()).await;

        page.fill("Seed", "5").await;
        page.press("Generate").await;
        let job = stage.claim().await;
        assert_eq!((job.lease.job.spec.num_inference_steps(), job.lease.job.spec.seed()), (3, 5));
        job.complete().await;
        page.finished().await;
        for right in ["Prompt", "Steps", "Seed"] {
            assert_eq!(page.complaint(right).await, None, "{right} is right");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_prompt_is_a_wrong_field() {
    let stage = Stage::start().await;
    visit_expecting(&REFUSED, Look::Desk, &stage.address(), async |page| {
        page.press("Generate").await;
        page.until("what is wrong with the prompt", async || {
            page.complaint("Prompt").await.is_some_and(|text| !text.is_empty())
        })
        .await;
        assert_eq!(stage.jobs().await, 0);
    })
    .await;
}
