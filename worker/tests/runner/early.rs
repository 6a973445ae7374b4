//! Jobs that somebody asked to finish early.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use glimpse_shared::{
    event::{CancelledBy, Event},
    id::JobId,
    job::{Job, Status},
    store::{FinishEarly, SharedStore},
};

use crate::{
    props::{GRACE, kinds, memory},
    script::{Running, Script, all, flaky::Flaky, job, start, submit, submit_job, until},
};

/// A running worker whose job has made so many steps, and waits in the next one. Its newest preview is of step `shown`.
async fn after(
    store: &SharedStore,
    script: &Script,
    (steps, shown): (usize, u32),
    grace: Duration,
) -> (Running, JobId) {
    let worker = start(store, script, "w", grace).await;
    let id = submit(store, "a heart").await;
    script.gate.let_through(steps);
    until(async || script.steps.load(Ordering::SeqCst) == steps && script.gate.is_waited_at()).await;
    until(async || store.status(id).await.unwrap().unwrap().step == Some(shown)).await;
    (worker, id)
}

/// Lets one step after the other pass, until the job has ended.
async fn go_on(store: &SharedStore, script: &Script, id: JobId) {
    let ended = async || store.status(id).await.unwrap().unwrap().status.is_terminal();
    while !ended().await {
        let made = script.steps.load(Ordering::SeqCst);
        script.gate.let_through(1);
        until(async || script.steps.load(Ordering::SeqCst) > made || ended().await).await;
    }
}

/// The last step of a completed job that finished early. Its pictures are then the estimates of that step, which are
/// dark, and otherwise the last ones, which are white.
async fn finished(store: &SharedStore, id: JobId) -> Option<u32> {
    match all(store, id).await.pop() {
        Some(Event::Completed { finished_at_step, images, .. }) => {
            assert_eq!(images.len(), 2);
            for picture in images {
                let pixels = image::load_from_memory(&picture.decode().unwrap()).unwrap().to_luma8();
                assert_eq!(pixels.get_pixel(0, 0).0[0] < 64, finished_at_step.is_some());
            }
            finished_at_step
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_finishes_the_job_within_a_step() {
    let (store, script) = (memory(), Script::default());
    let (_worker, id) = after(&store, &script, (2, 0), GRACE).await;
    assert_eq!(store.finish_early(id).await.unwrap(), FinishEarly::Asked);
    go_on(&store, &script, id).await;
    let last = finished(&store, id).await.expect("it finished early");
    assert!((2..9).contains(&last), "{last}");
    assert_eq!(script.steps.load(Ordering::SeqCst), last as usize + 1, "no step after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_message_was_lost_is_learnt_from_the_next_preview() {
    let memory = memory();
    let store: SharedStore = Arc::new(Flaky::new(memory, true));
    let script = Script::default();
    let (_worker, id) = after(&store, &script, (3, 0), GRACE).await;
    store.finish_early(id).await.unwrap();
    // The preview after step 4 says it.
    script.gate.let_through(2);
    until(async || store.status(id).await.unwrap().unwrap().step == Some(4)).await;
    go_on(&store, &script, id).await;
    let last = finished(&store, id).await.expect("it finished early");
    assert!((4..9).contains(&last), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_attempt_finishes_at_the_step_at_which_it_was_asked() {
    let (store, script) = (memory(), Script::default());
    let (mut worker, id) = after(&store, &script, (6, 4), Duration::ZERO).await;
    store.finish_early(id).await.unwrap();
    worker.drain();
    until(async || store.status(id).await.unwrap().unwrap().status == Status::Queued).await;
    let other = Script::default();
    other.gate.open();
    let _other = start(&store, &other, "other", GRACE).await;
    // It has no checkpoint and starts over, and the picture after its first step is none that anyone saw.
    assert_eq!(finished(&store, id).await, Some(4));
    assert_eq!(other.steps.load(Ordering::SeqCst), 5);
    script.gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_the_step_at_which_it_finishes() {
    let (store, script) = (memory(), Script::default());
    script.gate.open();
    let _worker = start(&store, &script, "w", GRACE).await;
    let with = |step: u32| {
        let job = job("a heart", serde_json::json!([]));
        let mut spec = serde_json::to_value(&job.spec).unwrap();
        spec["finish_at_step"] = step.into();
        Job { spec: serde_json::from_value(spec).unwrap(), ..job }
    };
    for (step, end) in [(0, Some(0)), (6, Some(6)), (8, Some(8)), (9, None), (40, None)] {
        let id = submit_job(&store, with(step)).await;
        assert_eq!(finished(&store, id).await, end, "asked for step {step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_before_the_early_end_wins() {
    let (store, script) = (memory(), Script::default());
    let (_worker, id) = after(&store, &script, (3, 0), GRACE).await;
    store.finish_early(id).await.unwrap();
    store.cancel(id, CancelledBy::Client).await.unwrap();
    script.gate.open();
    assert_eq!(kinds(&all(&store, id).await), ["cancelled"]);
}
