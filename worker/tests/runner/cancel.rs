//! Cancelled jobs, and the worker whose pipeline is still busy with one.

use std::sync::{Arc, atomic::Ordering};

use glimpse_shared::{event::CancelledBy, job::Status, store::SharedStore};
use glimpse_worker::runner::Ended;

use crate::{
    props::{GRACE, assert_completes, busy_since, cancel_and_settle, kinds, memory, until_settled},
    script::{Gate, Mishap, Script, all, flaky::Flaky, start, submit, until},
};

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
    // The job is settled while its last step is at the gate. The worker does not claim the next job before that step
    // ends.
    until_settled(&store, busy).await;
    assert_eq!(store.status(other).await.unwrap().unwrap().status, Status::Queued);
    script.gate.open();
    assert_completes(&store, other).await;
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
    // The publish after step 4 shows the cancel while step 5 is at the gate.
    script.gate.let_through(2);
    let other = submit(&store, "a house").await;
    until_settled(&store, busy).await;
    script.gate.open();
    assert_completes(&store, other).await;
}

/// Cancels a job while its pipeline waits at `gate`, and runs another job to its end.
async fn cancel_at(gate: &Gate, script: &Script) {
    let store = memory();
    script.gate.open();
    let _worker = start(&store, script, "w", GRACE).await;
    let id = submit(&store, "a heart").await;
    until(async || gate.is_waited_at()).await;
    cancel_and_settle(&store, id).await;
    gate.open();
    let other = submit(&store, "a house").await;
    assert_completes(&store, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_before_its_first_step_takes_none() {
    let gate = Arc::new(Gate::default());
    let script = Script { preparing: Some(gate.clone()), ..Script::default() };
    cancel_at(&gate, &script).await;
    assert_eq!(script.steps.load(Ordering::SeqCst), 10, "the steps of the other job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_at_its_end_makes_no_further_picture() {
    let gate = Arc::new(Gate::default());
    let script = Script { decoding: Some(gate.clone()), ..Script::default() };
    cancel_at(&gate, &script).await;
    let decoded = script.decoded.load(Ordering::SeqCst);
    assert_eq!(decoded, 1 + 2, "one picture of the cancelled job and two of the other job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_leaves_the_next_job_to_another() {
    let (store, stuck, free) = (memory(), Script::default(), Script::default());
    let _first = start(&store, &stuck, "first", GRACE).await;
    let id = submit(&store, "a heart").await;
    until(async || stuck.gate.is_waited_at()).await;
    cancel_and_settle(&store, id).await;
    let other = submit(&store, "a house").await;
    free.gate.open();
    let _second = start(&store, &free, "second", GRACE).await;
    assert_completes(&store, other).await;
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
    cancel_and_settle(&store, id).await;
    let other = submit(&store, "a house").await;
    script.gate.open();
    assert_eq!(worker.end().await, Ended::DeviceFault);
    assert_eq!(store.status(other).await.unwrap().unwrap().attempt, 0);
}
