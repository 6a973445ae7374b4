//! Errors and outages of the store, and a lease that expires.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::StreamExt;
use glimpse_shared::{
    event::{Event, Followed},
    id::Micros,
    job::Status,
    store::{Clock, Rules, SharedStore, memory::MemoryStore},
};

use crate::{
    props::{GRACE, assert_completes, busy_since, kinds, memory, until_settled},
    script::{Mishap, Script, all, flaky::Flaky, start, start_with, submit, until},
};

/// Checks that the worker continues after a permanent error of a command.
async fn check_continues_after(command: &'static str, script: Script) {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let store: SharedStore = flaky.clone();
    script.gate.open();
    let _worker = start_with(&store, &script, "w", GRACE, Duration::from_nanos(1)).await;
    *flaky.corrupt.lock().unwrap() = Some(command);
    let broken = submit(&store, "a heart").await;
    until(async || flaky.refused.load(Ordering::SeqCst) > 0).await;
    *flaky.corrupt.lock().unwrap() = None;
    let other = submit(&store, "a house").await;
    assert_completes(&store, other).await;
    // The lease of the job expires later, and the next attempt decides.
    assert_eq!(store.status(broken).await.unwrap().unwrap().status, Status::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_that_cannot_be_answered_ends_the_attempt() {
    check_continues_after("finish", Script::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_cannot_be_answered_ends_the_attempt() {
    let script = Script { mishaps: [("a heart", Mishap::Fault)].into(), ..Script::default() };
    check_continues_after("release", script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_cannot_be_answered_ends_the_attempt() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, script): (SharedStore, _) = (flaky.clone(), Script::default());
    *flaky.corrupt.lock().unwrap() = Some("renew");
    let _worker = start_with(&store, &script, "w", GRACE, Duration::from_nanos(1)).await;
    let broken = submit(&store, "a heart").await;
    let busy = busy_since(&store).await;
    // The checkpoint of the first step causes a renewal.
    script.gate.let_through(1);
    until_settled(&store, busy).await;
    *flaky.corrupt.lock().unwrap() = None;
    script.gate.open();
    let other = submit(&store, "a house").await;
    assert_completes(&store, other).await;
    assert_eq!(store.status(broken).await.unwrap().unwrap().status, Status::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_continues_after_a_claim_that_cannot_be_read() {
    check_continues_after("claim", Script::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_although_its_checkpoints_are_refused() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, script): (SharedStore, _) = (flaky.clone(), Script::default());
    *flaky.corrupt.lock().unwrap() = Some("renew with a checkpoint");
    let _worker = start_with(&store, &script, "w", GRACE, Duration::from_nanos(1)).await;
    let id = submit(&store, "a heart").await;
    script.gate.let_through(5);
    until(async || flaky.checkpoints_sent.load(Ordering::SeqCst) > 0).await;
    script.gate.open();
    assert_completes(&store, id).await;
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
    let events: Vec<_> = stream.collect().await;
    let last = events.last().unwrap();
    assert!(matches!(last, Followed::Frame(frame) if frame.kind.is_terminal()));
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
    // The previews are dropped, and the finish is retried.
    until(async || script.steps.load(Ordering::SeqCst) == 10 && flaky.refused.load(Ordering::SeqCst) > 5)
        .await;
    flaky.up.store(true, Ordering::SeqCst);
    let events = all(&store, id).await;
    assert!(matches!(events.last(), Some(Event::Completed { .. })), "{:?}", kinds(&events));
}
