//! The events and the end of a job, and the record of its worker.

use glimpse_shared::{
    event::{Event, FailureCode, WarningCode},
    job::{Job, Progress, Status, WorkerState},
    needs::Needs,
};
use glimpse_worker::runner::Ended;
use serde_json::json;

use crate::{
    props::{GRACE, assert_completes, memory},
    script::{Mishap, Script, all, job, next, start, submit, submit_job, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_becomes_previews_and_pictures() {
    let (store, script) = (memory(), Script::default());
    let id = submit(&store, "a heart").await;
    let mut stream = store.follow(id, None);
    let _worker = start(&store, &script, "w", GRACE).await;
    assert_eq!(next(&mut stream).await, Event::Queued { position: 0 });
    assert!(
        matches!(next(&mut stream).await, Event::Started { attempt: 1, worker } if worker.as_str().starts_with("w-"))
    );
    // One by one, so that the end does not overtake a preview.
    for (through, expected) in [(1, 0), (4, 4), (4, 8)] {
        script.gate.let_through(through);
        match next(&mut stream).await {
            Event::Preview { attempt: 1, step, steps: 10, image } => {
                assert_eq!((step, image.content_type.as_str()), (expected, "image/jpeg"));
                let jpeg = image::load_from_memory(&image.decode().unwrap()).unwrap().to_rgb8();
                assert_eq!(jpeg.dimensions(), (16, 8));
                assert!(jpeg.get_pixel(3, 3).0[0].abs_diff(expected as u8 + 1) < 4);
            }
            other => panic!("not a preview: {other:?}"),
        }
    }
    script.gate.open();
    match next(&mut stream).await {
        Event::Completed { images, seed: 9, timings, .. } => {
            assert_eq!(images.len(), 2);
            assert!(timings.inference > 0.0 && timings.decode > 0.0);
        }
        other => panic!("not the end: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_model_cannot_serve_is_not_retried() {
    let store = memory();
    let script = Script { mishaps: [("wide", Mishap::Refused)].into(), ..Script::default() };
    script.gate.open();
    let _worker = start(&store, &script, "w", GRACE).await;
    let id = submit(&store, "wide").await;
    let end = all(&store, id).await.pop().unwrap();
    let message = "width: this model is square".to_owned();
    assert_eq!(end, Event::Failed { code: FailureCode::BadRequest, message });
    assert_eq!(store.status(id).await.unwrap().unwrap().attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_job_ends_after_three_attempts_and_the_worker_continues() {
    let store = memory();
    let script = Script {
        mishaps: [("greedy", Mishap::Fault), ("broken", Mishap::Panic)].into(),
        ..Script::default()
    };
    script.gate.open();
    let _worker = start(&store, &script, "w", GRACE).await;
    for (prompt, reason) in [("greedy", "out of memory"), ("broken", "panic: a defect")] {
        let id = submit(&store, prompt).await;
        let end = all(&store, id).await.pop().unwrap();
        let message = format!("given up after 3 attempts: {reason}");
        assert_eq!(end, Event::Failed { code: FailureCode::AttemptsExhausted, message });
    }
    let id = submit(&store, "a heart").await;
    assert_completes(&store, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_fault_returns_the_job_and_ends_the_worker() {
    let store = memory();
    let script = Script { mishaps: [("a heart", Mishap::Device)].into(), ..Script::default() };
    script.gate.open();
    let worker = start(&store, &script, "w", GRACE).await;
    let id = submit(&store, "a heart").await;
    assert_eq!(worker.end().await, Ended::DeviceFault);
    let state = store.status(id).await.unwrap().unwrap();
    assert_eq!((state.status, state.attempt), (Status::Queued, 1));

    let healthy = Script::default();
    healthy.gate.open();
    let _worker = start(&store, &healthy, "w", GRACE).await;
    assert_completes(&store, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_event_carries_the_warnings() {
    let store = memory();
    let script = Script { mishaps: [("a long story", Mishap::Truncated)].into(), ..Script::default() };
    script.gate.open();
    let _worker = start(&store, &script, "w", GRACE).await;
    for (prompt, expected) in [("a long story", 1), ("a heart", 0)] {
        let id = submit(&store, prompt).await;
        match all(&store, id).await.pop() {
            Some(Event::Completed { warnings, .. }) => {
                assert_eq!(warnings.len(), expected);
                assert!(warnings.iter().all(|warning| warning.code == WarningCode::PromptTruncated));
            }
            other => panic!("not the end: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_says_what_the_worker_does() {
    let (store, script) = (memory(), Script::default());
    let _worker = start(&store, &script, "w", GRACE).await;
    let record = async || store.workers().await.unwrap()[0].record.clone();
    let idle = record().await;
    assert_eq!((idle.state, idle.native_width, idle.device.as_str()), (WorkerState::Idle, 16, "script"));
    let id = submit(&store, "a heart").await;
    until(async || record().await.state == WorkerState::Busy).await;
    assert_eq!(record().await.progress, None);
    script.gate.let_through(3);
    // The next heartbeat has the progress.
    until(async || record().await.progress == Some(Progress { step: 2, steps: 10 })).await;
    let said = serde_json::to_string(&record().await).unwrap();
    assert!(
        !said.contains(&id.to_string()),
        "a job's id gives access to the job, so it is not in the record: {said}"
    );
    script.gate.open();
    until(async || record().await.state == WorkerState::Idle).await;
    assert_eq!(record().await.progress, None);
}

/// The worker has no folder of LoRAs, so the jobs fail, in the order in which it claims them. They are of a release that
/// did not say what such a job needs.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_with_the_loras_that_are_loaded_come_first() {
    let store = memory();
    let (one, other) = (json!([{ "path": "one" }]), json!([{ "path": "other" }]));
    let submit =
        async |loras| submit_job(&store, Job { needs: Needs::default(), ..job("a heart", loras) }).await;
    let first = submit(one.clone()).await;
    let third = submit(other).await;
    let second = submit(one).await;
    let _worker = start(&store, &Script::default(), "w", GRACE).await;
    let mut ended = Vec::new();
    for id in [first, second, third] {
        let end = all(&store, id).await.pop().unwrap();
        let message = "loras: this worker has no LoRAs (--lora-dir)".to_owned();
        assert_eq!(end, Event::Failed { code: FailureCode::BadRequest, message });
        ended.push(store.status(id).await.unwrap().unwrap().finished_at);
    }
    assert!(ended.is_sorted(), "{ended:?}");
}
