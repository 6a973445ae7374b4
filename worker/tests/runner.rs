//! The runner's stories, with a scripted pipeline behind the seam.

#![expect(clippy::unwrap_used, reason = "in a test that is how a failure looks")]

#[cfg(test)]
mod script;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use glimpse_shared::{
    event::{CancelledBy, Event, FailureCode, WarningCode},
    id::Micros,
    job::{Progress, Status, WorkerState},
    store::{Clock, Rules, SharedStore, memory::MemoryStore},
};
use glimpse_worker::runner::Ended;
use script::{Gate, Mishap, Script, all, flaky::Flaky, next, start, start_with, submit, submit_with, until};
use serde_json::json;

const GRACE: Duration = Duration::from_secs(30);

fn memory() -> SharedStore {
    Arc::new(MemoryStore::new(Rules::default(), Clock::Store))
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind().as_str()).collect()
}

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
    // One by one, so that no preview is overtaken by the end.
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
async fn a_request_the_model_cannot_serve_fails_once() {
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
async fn a_poison_job_ends_after_three_attempts_and_the_worker_serves_on() {
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
    assert!(matches!(all(&store, id).await.pop(), Some(Event::Completed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_fault_gives_the_job_back_and_ends_the_worker() {
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
    assert!(matches!(all(&store, id).await.pop(), Some(Event::Completed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_the_work_within_a_step() {
    let (store, script) = (memory(), Script::default());
    let _worker = start(&store, &script, "w", GRACE).await;
    let id = submit(&store, "a heart").await;
    script.gate.let_through(3);
    until(async || script.steps.load(Ordering::SeqCst) == 3 && script.gate.is_waited_at()).await;
    let busy = busy_since(&store).await;
    store.cancel(id, CancelledBy::Client).await.unwrap();
    let other = submit(&store, "a house").await;
    // The job is settled while its last step is still at the gate, but the next one does not wait behind it.
    until_settled(&store, busy).await;
    assert_eq!(store.status(other).await.unwrap().unwrap().status, Status::Queued);
    script.gate.open();
    assert!(matches!(all(&store, other).await.pop(), Some(Event::Completed { .. })));
    assert_eq!(
        script.steps.load(Ordering::SeqCst),
        3 + 1 + 10,
        "one step after the cancel, then the other job"
    );
    assert_eq!(kinds(&all(&store, id).await), ["cancelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_whose_message_was_lost_is_learnt_from_the_next_publish() {
    let memory = memory();
    let flaky = Flaky::new(memory, true);
    let store: SharedStore = Arc::new(flaky);
    let script = Script::default();
    let _worker = start(&store, &script, "w", GRACE).await;
    let id = submit(&store, "a heart").await;
    script.gate.let_through(3);
    until(async || script.steps.load(Ordering::SeqCst) == 3).await;
    let busy = busy_since(&store).await;
    store.cancel(id, CancelledBy::Client).await.unwrap();
    // The publish of step 4 is refused, which is known while step 5 stands at the gate.
    script.gate.let_through(2);
    let other = submit(&store, "a house").await;
    until_settled(&store, busy).await;
    script.gate.open();
    assert!(matches!(all(&store, other).await.pop(), Some(Event::Completed { .. })));
}

/// The newest heartbeat of the only worker, once it says that the worker is busy.
async fn busy_since(store: &SharedStore) -> Micros {
    let seen = async || store.workers().await.unwrap()[0].clone();
    until(async || seen().await.record.state == WorkerState::Busy).await;
    seen().await.last_seen
}

/// Waits until the only worker's job is settled while its pipeline is still busy with it: the worker then sends a
/// heartbeat without progress.
async fn until_settled(store: &SharedStore, busy_since: Micros) {
    until(async || {
        let seen = store.workers().await.unwrap()[0].clone();
        (seen.record.state, seen.record.progress) == (WorkerState::Busy, None) && seen.last_seen > busy_since
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_before_its_first_step_takes_none() {
    let (store, gate) = (memory(), Arc::new(Gate::default()));
    let script = Script { preparing: Some(gate.clone()), ..Script::default() };
    script.gate.open();
    let _worker = start(&store, &script, "w", GRACE).await;
    let id = submit(&store, "a heart").await;
    until(async || gate.is_waited_at()).await;
    let busy = busy_since(&store).await;
    store.cancel(id, CancelledBy::Client).await.unwrap();
    until_settled(&store, busy).await;
    gate.open();
    let other = submit(&store, "a house").await;
    assert!(matches!(all(&store, other).await.pop(), Some(Event::Completed { .. })));
    assert_eq!(script.steps.load(Ordering::SeqCst), 10, "those of the other job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_at_its_end_makes_no_further_picture() {
    let (store, gate) = (memory(), Arc::new(Gate::default()));
    let script = Script { decoding: Some(gate.clone()), ..Script::default() };
    script.gate.open();
    let _worker = start(&store, &script, "w", GRACE).await;
    let id = submit(&store, "a heart").await;
    until(async || gate.is_waited_at()).await;
    let busy = busy_since(&store).await;
    store.cancel(id, CancelledBy::Client).await.unwrap();
    until_settled(&store, busy).await;
    gate.open();
    let other = submit(&store, "a house").await;
    assert!(matches!(all(&store, other).await.pop(), Some(Event::Completed { .. })));
    assert_eq!(
        script.decoded.load(Ordering::SeqCst),
        1 + 2,
        "one of the cancelled job, then those of the other"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_leaves_the_next_job_to_another() {
    let (store, stuck, free) = (memory(), Script::default(), Script::default());
    let _first = start(&store, &stuck, "first", GRACE).await;
    let id = submit(&store, "a heart").await;
    until(async || stuck.gate.is_waited_at()).await;
    let busy = busy_since(&store).await;
    store.cancel(id, CancelledBy::Client).await.unwrap();
    until_settled(&store, busy).await;
    let other = submit(&store, "a house").await;
    free.gate.open();
    let _second = start(&store, &free, "second", GRACE).await;
    assert!(matches!(all(&store, other).await.pop(), Some(Event::Completed { .. })));
    assert_eq!((stuck.steps.load(Ordering::SeqCst), free.steps.load(Ordering::SeqCst)), (0, 10));
    stuck.gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_breaks_while_a_job_is_stopped_ends_the_worker_before_the_next() {
    let store = memory();
    let script = Script { mishaps: [("a heart", Mishap::Device)].into(), ..Script::default() };
    let worker = start(&store, &script, "w", GRACE).await;
    let id = submit(&store, "a heart").await;
    until(async || script.gate.is_waited_at()).await;
    let busy = busy_since(&store).await;
    store.cancel(id, CancelledBy::Client).await.unwrap();
    until_settled(&store, busy).await;
    let other = submit(&store, "a house").await;
    script.gate.open();
    assert_eq!(worker.end().await, Ended::DeviceFault);
    assert_eq!(store.status(other).await.unwrap().unwrap().attempt, 0);
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

/// An answer that no retry makes better ends the attempt, and the worker serves on.
async fn a_worker_serves_on_after(command: &'static str, script: Script) {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let store: SharedStore = flaky.clone();
    script.gate.open();
    let _worker = start_with(&store, &script, "w", GRACE, Duration::from_nanos(1)).await;
    *flaky.corrupt.lock().unwrap() = Some(command);
    let broken = submit(&store, "a heart").await;
    until(async || flaky.refused.load(Ordering::SeqCst) > 0).await;
    *flaky.corrupt.lock().unwrap() = None;
    let other = submit(&store, "a house").await;
    assert!(matches!(all(&store, other).await.pop(), Some(Event::Completed { .. })), "after {command}");
    // Its lease runs out, and the next attempt decides.
    assert_eq!(store.status(broken).await.unwrap().unwrap().status, Status::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_that_cannot_be_answered_ends_the_attempt() {
    a_worker_serves_on_after("finish", Script::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_cannot_be_answered_ends_the_attempt() {
    let script = Script { mishaps: [("a heart", Mishap::Fault)].into(), ..Script::default() };
    a_worker_serves_on_after("release", script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_cannot_be_answered_ends_the_attempt() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, script): (SharedStore, _) = (flaky.clone(), Script::default());
    *flaky.corrupt.lock().unwrap() = Some("renew");
    let _worker = start_with(&store, &script, "w", GRACE, Duration::from_nanos(1)).await;
    let broken = submit(&store, "a heart").await;
    let busy = busy_since(&store).await;
    // The first step's checkpoint goes with a renewal.
    script.gate.let_through(1);
    until_settled(&store, busy).await;
    *flaky.corrupt.lock().unwrap() = None;
    script.gate.open();
    let other = submit(&store, "a house").await;
    assert!(matches!(all(&store, other).await.pop(), Some(Event::Completed { .. })));
    assert_eq!(store.status(broken).await.unwrap().unwrap().status, Status::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_cannot_be_read_keeps_no_worker_from_the_next_job() {
    a_worker_serves_on_after("claim", Script::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_holds_on_where_checkpoints_are_not_taken() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, script): (SharedStore, _) = (flaky.clone(), Script::default());
    *flaky.corrupt.lock().unwrap() = Some("renew with a checkpoint");
    let _worker = start_with(&store, &script, "w", GRACE, Duration::from_nanos(1)).await;
    let id = submit(&store, "a heart").await;
    script.gate.let_through(5);
    until(async || flaky.checkpoints_sent.load(Ordering::SeqCst) > 0).await;
    script.gate.open();
    assert!(matches!(all(&store, id).await.pop(), Some(Event::Completed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_worker_stops_publishing() {
    let clock = Clock::manual(Micros::system());
    let store: SharedStore = Arc::new(MemoryStore::new(Rules::default(), clock.clone()));
    let (frozen, healthy) = (Script::default(), Script::default());
    healthy.gate.open();
    let _zombie = start(&store, &frozen, "zombie", GRACE).await;
    let id = submit(&store, "a heart").await;
    until(async || frozen.gate.is_waited_at()).await;
    let stream = store.follow(id, None);
    clock.advance(Duration::from_secs(16));
    store.reap(store.now().await.unwrap()).await.unwrap();
    let _worker = start(&store, &healthy, "healthy", GRACE).await;
    frozen.gate.open();
    let events: Vec<_> = futures::StreamExt::collect::<Vec<_>>(stream).await;
    let last = events.last().unwrap();
    assert!(matches!(last, glimpse_shared::event::Followed::Frame(frame) if frame.kind.is_terminal()));
    let state = store.status(id).await.unwrap().unwrap();
    assert_eq!((state.status, state.attempt), (Status::Completed, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_picture_outlives_an_outage() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let store: SharedStore = flaky.clone();
    let script = Script::default();
    let _worker = start(&store, &script, "w", GRACE).await;
    let id = submit(&store, "a heart").await;
    until(async || script.gate.is_waited_at()).await;
    flaky.up.store(false, Ordering::SeqCst);
    script.gate.open();
    // Previews were dropped, and the finish has been refused more than once.
    until(async || script.steps.load(Ordering::SeqCst) == 10 && flaky.refused.load(Ordering::SeqCst) > 5)
        .await;
    flaky.up.store(true, Ordering::SeqCst);
    let events = all(&store, id).await;
    assert!(matches!(events.last(), Some(Event::Completed { .. })), "{:?}", kinds(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_within_the_grace_finishes_the_job_at_hand() {
    let (store, script) = (memory(), Script::default());
    let mut worker = start(&store, &script, "w", GRACE).await;
    let id = submit(&store, "a heart").await;
    until(async || script.gate.is_waited_at()).await;
    worker.drain();
    let next_one = submit(&store, "a house").await;
    script.gate.open();
    assert_eq!(worker.end().await, Ended::Drained);
    assert!(matches!(all(&store, id).await.pop(), Some(Event::Completed { .. })));
    assert_eq!(store.status(next_one).await.unwrap().unwrap().status, Status::Queued);
    assert_eq!(store.workers().await.unwrap()[0].record.state, WorkerState::Draining);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_without_grace_gives_the_job_back_uncounted() {
    let (store, script) = (memory(), Script::default());
    let id = submit(&store, "a heart").await;
    for attempt in 1..=4 {
        let mut worker = start(&store, &script, "w", Duration::ZERO).await;
        until(async || store.status(id).await.unwrap().unwrap().attempt == attempt).await;
        worker.drain();
        // The step is still at the gate: the job does not wait for it.
        assert_eq!(worker.end().await, Ended::Drained);
        assert_eq!(store.status(id).await.unwrap().unwrap().status, Status::Queued);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_claimed_without_an_answer_is_given_back_by_a_drain() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    flaky.claim_unanswered.store(true, Ordering::SeqCst);
    let store: SharedStore = flaky.clone();
    let id = submit(&store, "a heart").await;
    let mut worker = start(&store, &Script::default(), "w", Duration::ZERO).await;
    until(async || store.status(id).await.unwrap().unwrap().status == Status::Running).await;
    worker.drain();
    assert_eq!(worker.end().await, Ended::Drained);
    assert_eq!(store.status(id).await.unwrap().unwrap().status, Status::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_drains_at_once_and_others_serve_on() {
    let (store, script) = (memory(), Script::default());
    let mut worker = start(&store, &script, "w", GRACE).await;
    let mut other = start(&store, &script, "other", GRACE).await;
    worker.drain();
    assert_eq!(worker.end().await, Ended::Drained);
    let id = submit(&store, "a heart").await;
    script.gate.open();
    assert!(matches!(all(&store, id).await.pop(), Some(Event::Completed { .. })));
    other.drain();
    assert_eq!(other.end().await, Ended::Drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_can_shut_down_before_it_is_registered() {
    let flaky = Arc::new(Flaky::new(memory(), false));
    let store: SharedStore = flaky.clone();
    let (mut worker, mut is_ready) =
        script::launch(&store, &Script::default(), "w", GRACE, Duration::ZERO).await;
    until(async || flaky.refused.load(Ordering::SeqCst) > 1).await;
    worker.drain();
    assert_eq!(worker.end().await, Ended::Drained);
    assert!(is_ready.try_recv().is_err());
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
    // With the next heartbeat.
    until(async || record().await.progress == Some(Progress { step: 2, steps: 10 })).await;
    let said = serde_json::to_string(&record().await).unwrap();
    assert!(!said.contains(&id.to_string()), "who has a job's id has the job: {said}");
    script.gate.open();
    until(async || record().await.state == WorkerState::Idle).await;
    assert_eq!(record().await.progress, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_given_back_goes_on_from_its_checkpoint() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, script): (SharedStore, _) = (flaky.clone(), Script::default());
    let every_step = Duration::from_nanos(1);
    let mut first = start_with(&store, &script, "first", Duration::ZERO, every_step).await;
    let id = submit(&store, "a heart").await;
    script.gate.let_through(5);
    until(async || flaky.kept.lock().unwrap().as_ref().is_some_and(|kept| kept.bytes()[..] == [5])).await;
    first.drain();
    assert_eq!(first.end().await, Ended::Drained);
    // The step that its pipeline was in the middle of.
    script.gate.let_through(1);
    until(async || script.steps.load(Ordering::SeqCst) == 6).await;

    let _second = start_with(&store, &script, "second", GRACE, every_step).await;
    script.gate.open();
    let events = all(&store, id).await;
    assert!(matches!(events.last(), Some(Event::Completed { .. })), "{:?}", kinds(&events));
    // Ten steps, and the one that came to nothing.
    assert_eq!(script.steps.load(Ordering::SeqCst), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_checkpoints_a_job_begins_anew() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, script): (SharedStore, _) = (flaky.clone(), Script::default());
    let mut first = start_with(&store, &script, "first", Duration::ZERO, Duration::ZERO).await;
    let id = submit(&store, "a heart").await;
    script.gate.let_through(5);
    until(async || script.steps.load(Ordering::SeqCst) == 5 && script.gate.is_waited_at()).await;
    first.drain();
    first.end().await;
    script.gate.let_through(1);
    until(async || script.steps.load(Ordering::SeqCst) == 6).await;
    let _second = start_with(&store, &script, "second", GRACE, Duration::ZERO).await;
    script.gate.open();
    all(&store, id).await;
    assert_eq!(script.steps.load(Ordering::SeqCst), 16);
    assert_eq!(*flaky.kept.lock().unwrap(), None);
}

/// The scripted worker has no folder of LoRAs: the jobs fail, but in the order in which it takes them.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_with_the_loras_that_are_loaded_come_first() {
    let store = memory();
    let (one, other) = (json!([{ "path": "one" }]), json!([{ "path": "other" }]));
    let first = submit_with(&store, "a heart", one.clone()).await;
    let third = submit_with(&store, "a heart", other).await;
    let second = submit_with(&store, "a heart", one).await;
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
