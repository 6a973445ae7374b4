//! Draining workers, and the jobs that they return to the queue.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use glimpse_shared::{
    event::Event,
    job::{Status, WorkerState},
    store::SharedStore,
};
use glimpse_worker::runner::Ended;

use crate::{
    played::play,
    props::{GRACE, assert_completes, kinds, memory},
    script::{Script, all, flaky::Flaky, launch, start, start_with, submit, until},
};

#[tokio::test(start_paused = true)]
async fn a_drain_within_the_grace_period_finishes_the_current_job() {
    let store = memory();
    let (mut worker, mut orders) = play(&store, "w", GRACE);
    let id = submit(&store, "a heart").await;
    let mut current = orders.next().await.begin();
    worker.drain();
    // In virtual time: the worker has seen the drain.
    tokio::time::sleep(GRACE / 2).await;
    let next_one = submit(&store, "a house").await;
    current.last_step();
    tokio::time::sleep(GRACE / 4).await;
    current.hand_over();
    assert_eq!(worker.end().await, Ended::Drained);
    assert_completes(&store, id).await;
    assert_eq!(store.status(next_one).await.unwrap().unwrap().status, Status::Queued);
    assert_eq!(store.workers().await.unwrap()[0].record.state, WorkerState::Draining);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_without_grace_period_returns_the_job_and_counts_no_attempt() {
    let (store, script) = (memory(), Script::default());
    let id = submit(&store, "a heart").await;
    for attempt in 1..=4 {
        let mut worker = start(&store, &script, "w", Duration::ZERO).await;
        until(async || store.status(id).await.unwrap().unwrap().attempt == attempt).await;
        worker.drain();
        // The step is still at the gate. The worker does not wait for it.
        assert_eq!(worker.end().await, Ended::Drained);
        assert_eq!(store.status(id).await.unwrap().unwrap().status, Status::Queued);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_claimed_without_an_answer_is_returned_by_a_drain() {
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
async fn an_idle_worker_drains_at_once_and_others_continue() {
    let (store, script) = (memory(), Script::default());
    let mut worker = start(&store, &script, "w", GRACE).await;
    let mut other = start(&store, &script, "other", GRACE).await;
    worker.drain();
    assert_eq!(worker.end().await, Ended::Drained);
    let id = submit(&store, "a heart").await;
    script.gate.open();
    assert_completes(&store, id).await;
    other.drain();
    assert_eq!(other.end().await, Ended::Drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_can_shut_down_before_it_is_registered() {
    let flaky = Arc::new(Flaky::new(memory(), false));
    let store: SharedStore = flaky.clone();
    let (mut worker, mut is_ready) = launch(&store, &Script::default(), "w", GRACE, Duration::ZERO).await;
    until(async || flaky.refused.load(Ordering::SeqCst) > 1).await;
    worker.drain();
    assert_eq!(worker.end().await, Ended::Drained);
    assert!(is_ready.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returned_job_resumes_from_its_checkpoint() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, script): (SharedStore, _) = (flaky.clone(), Script::default());
    let every_step = Duration::from_nanos(1);
    let mut first = start_with(&store, &script, "first", Duration::ZERO, every_step).await;
    let id = submit(&store, "a heart").await;
    script.gate.let_through(5);
    until(async || flaky.kept.lock().unwrap().as_ref().is_some_and(|kept| kept.bytes()[..] == [5])).await;
    first.drain();
    assert_eq!(first.end().await, Ended::Drained);
    // The interrupted step of the first worker.
    script.gate.let_through(1);
    until(async || script.steps.load(Ordering::SeqCst) == 6).await;

    let _second = start_with(&store, &script, "second", GRACE, every_step).await;
    script.gate.open();
    let events = all(&store, id).await;
    assert!(matches!(events.last(), Some(Event::Completed { .. })), "{:?}", kinds(&events));
    // Ten steps, and the step that was lost.
    assert_eq!(script.steps.load(Ordering::SeqCst), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_checkpoints_a_job_starts_over() {
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
