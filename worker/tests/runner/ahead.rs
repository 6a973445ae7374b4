//! The next job is claimed when the last step of the current one begins, and runs beside the report of that one.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use glimpse_shared::{
    event::{CancelledBy, Event},
    job::{Progress, Release, Status, WorkerState},
    store::SharedStore,
};
use glimpse_worker::{lease::Stop, pipeline::PipelineError, runner::Ended};

use crate::{
    played::play,
    props::{GRACE, assert_completes, kinds, memory},
    script::{all, flaky::Flaky, next, submit, until},
};

fn flaky() -> (Arc<Flaky>, SharedStore) {
    let flaky = Arc::new(Flaky::new(memory(), true));
    (flaky.clone(), flaky)
}

async fn status(store: &SharedStore, id: glimpse_shared::id::JobId) -> Status {
    store.status(id).await.unwrap().unwrap().status
}

#[tokio::test(start_paused = true)]
async fn the_next_job_runs_while_the_finish_of_the_first_hangs() {
    let (flaky, store) = flaky();
    flaky.holds_finishes.send_replace(true);
    let (first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let (_worker, mut orders) = play(&store, "w", GRACE);
    let one = orders.next().await.begin_last_step();
    let other = orders.next().await;
    one.hand_over();
    until(async || flaky.finishes.load(Ordering::SeqCst) == 1).await;

    let mut other = other.begin();
    other.step(1);
    other.preview(0);
    let mut stream = store.follow(second, None);
    while !matches!(next(&mut stream).await, Event::Preview { step: 0, .. }) {}
    other.last_step();
    other.hand_over();
    assert_eq!(status(&store, first).await, Status::Running, "its finish hangs");
    flaky.holds_finishes.send_replace(false);
    assert_completes(&store, first).await;
    assert_completes(&store, second).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_previews_of_a_job_come_before_its_end() {
    let (flaky, store) = flaky();
    flaky.holds_finishes.send_replace(true);
    let (first, _second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let (_worker, mut orders) = play(&store, "w", GRACE);
    let one = orders.next().await.begin_last_step();
    let other = orders.next().await;
    for step in [7, 8, 9] {
        one.preview(step);
    }
    one.hand_over();
    other.begin().step(1);
    until(async || flaky.finishes.load(Ordering::SeqCst) == 1).await;
    let mut stream = store.follow(first, None);
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(next(&mut stream).await);
    }
    flaky.holds_finishes.send_replace(false);
    events.push(next(&mut stream).await);
    assert_eq!(kinds(&events), ["queued", "started", "preview", "preview", "preview", "completed"]);
}

#[tokio::test(start_paused = true)]
async fn one_job_is_claimed_ahead_and_not_before_the_last_step() {
    let store = memory();
    for prompt in ["a heart", "a house", "a horse"] {
        submit(&store, prompt).await;
    }
    let (_worker, mut orders) = play(&store, "w", GRACE);
    let mut one = orders.next().await.begin();
    one.step(1);
    orders.stay_empty().await;
    one.last_step();
    let other = orders.next().await;
    orders.stay_empty().await;
    one.hand_over();
    let mut other = other.begin();
    orders.stay_empty().await;
    other.last_step();
    orders.next().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_holds_at_most_two_jobs() {
    let (flaky, store) = flaky();
    flaky.holds_finishes.send_replace(true);
    for prompt in ["a heart", "a house", "a horse"] {
        submit(&store, prompt).await;
    }
    let (_worker, mut orders) = play(&store, "w", GRACE);
    orders.next().await.begin_last_step().hand_over();
    let other = orders.next().await.begin_last_step();
    orders.stay_empty().await;
    other.hand_over();
    orders.stay_empty().await;
    flaky.holds_finishes.send_replace(false);
    orders.next().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_comes_during_the_last_step_is_left_to_an_idle_worker() {
    let (flaky, store) = flaky();
    flaky.holds_finishes.send_replace(true);
    submit(&store, "a heart").await;
    let (_worker, mut orders) = play(&store, "w", GRACE);
    let one = orders.next().await.begin_last_step();
    orders.stay_empty().await;
    let second = submit(&store, "a house").await;
    orders.stay_empty().await;
    assert_eq!(status(&store, second).await, Status::Queued);
    // If no worker is idle, this one takes it as soon as its pipeline is free.
    one.hand_over();
    orders.next().await;
    assert_eq!(flaky.finishes.load(Ordering::SeqCst), 1, "and the finish of the first still hangs");
}

#[tokio::test(start_paused = true)]
async fn a_job_ahead_is_cancelled_before_it_begins_and_another_takes_its_place() {
    let store = memory();
    let (first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let third = submit(&store, "a horse").await;
    let (_worker, mut orders) = play(&store, "w", GRACE);
    let one = orders.next().await.begin_last_step();
    let mut other = orders.next().await;
    let cancelled_at = tokio::time::Instant::now();
    store.cancel(second, CancelledBy::Client).await.unwrap();
    assert_eq!(other.stopped().await, Stop::Cancelled);
    assert!(cancelled_at.elapsed() < Duration::from_secs(1), "by the message, and not by the next renewal");
    let replacement = orders.next().await;
    assert_eq!((one.stop(), replacement.stop()), (None, None));
    one.hand_over();
    replacement.begin().hand_over();
    assert_completes(&store, first).await;
    assert_completes(&store, third).await;
    assert_eq!(kinds(&all(&store, second).await), ["cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_ahead_begins_although_the_first_is_cancelled() {
    let store = memory();
    let (first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    submit(&store, "a horse").await;
    let (_worker, mut orders) = play(&store, "w", GRACE);
    let one = orders.next().await.begin_last_step();
    let other = orders.next().await;
    store.cancel(first, CancelledBy::Client).await.unwrap();
    until(async || one.stop() == Some(Stop::Cancelled)).await;
    orders.stay_empty().await;
    one.drop_stopped();
    assert_eq!(other.stop(), None);
    other.begin().hand_over();
    assert_completes(&store, second).await;
    orders.next().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_claimed_behind_a_job_that_is_stopped_in_its_last_step() {
    let store = memory();
    let (first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let _third = submit(&store, "a horse").await;
    let (_worker, mut orders) = play(&store, "w", GRACE);
    let one = orders.next().await.begin_last_step();
    let mut other = orders.next().await;
    store.cancel(first, CancelledBy::Client).await.unwrap();
    until(async || one.stop() == Some(Stop::Cancelled)).await;
    store.cancel(second, CancelledBy::Client).await.unwrap();
    assert_eq!(other.stopped().await, Stop::Cancelled);
    orders.stay_empty().await;
    one.drop_stopped();
    orders.next().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_ahead_begins_although_the_first_fails() {
    let (flaky, store) = flaky();
    let (first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let (_worker, mut orders) = play(&store, "w", GRACE);
    let one = orders.next().await.begin_last_step();
    let other = orders.next().await;
    one.fail(PipelineError::Fault { message: "out of memory".to_owned() });
    let other = other.begin();
    until(async || status(&store, first).await == Status::Queued).await;
    let fault = Release::Fault("out of memory".to_owned());
    assert_eq!(*flaky.released.lock().unwrap(), [(first, fault)]);
    other.hand_over();
    assert_completes(&store, second).await;
    orders.next().await.begin().hand_over();
    assert_completes(&store, first).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_a_job_ahead_back_in_its_place_and_finishes_the_current_one() {
    let (flaky, store) = flaky();
    let (first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let third = submit(&store, "a horse").await;
    let (mut worker, mut orders) = play(&store, "w", GRACE);
    let one = orders.next().await.begin_last_step();
    let mut other = orders.next().await;
    worker.drain();
    assert_eq!(other.stopped().await, Stop::Drain);
    until(async || status(&store, second).await == Status::Queued).await;
    assert_eq!(*flaky.released.lock().unwrap(), [(second, Release::Drain)], "it counts as no attempt");

    let (_second_worker, mut others) = play(&store, "other", GRACE);
    for id in [second, third] {
        others.next().await.begin().hand_over();
        assert_completes(&store, id).await;
    }
    assert_eq!((one.stop(), status(&store, first).await), (None, Status::Running));
    one.hand_over();
    assert_completes(&store, first).await;
    assert_eq!(worker.end().await, Ended::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_just_begun_keeps_the_grace_of_a_drain() {
    let (_, store) = flaky();
    let (_first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let (mut worker, mut orders) = play(&store, "w", GRACE);
    orders.next().await.begin_last_step().hand_over();
    let other = orders.next().await.begin();
    worker.drain();
    tokio::time::sleep(GRACE / 2).await;
    assert_eq!(other.stop(), None);
    other.hand_over();
    assert_completes(&store, second).await;
    assert_eq!(worker.end().await, Ended::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_job_ahead_whose_claim_was_answered_during_a_drain_is_given_back() {
    let (flaky, store) = flaky();
    let (_first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let (mut worker, mut orders) = play(&store, "w", GRACE);
    let mut one = orders.next().await.begin();
    flaky.claim_unanswered.store(true, Ordering::SeqCst);
    one.last_step();
    until(async || status(&store, second).await == Status::Running).await;
    worker.drain();
    assert_eq!(orders.next().await.stopped().await, Stop::Drain);
    until(async || status(&store, second).await == Status::Queued).await;
    assert_eq!(one.stop(), None);
    one.hand_over();
    assert_eq!(worker.end().await, Ended::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_worker_does_not_show_a_job_ahead_as_running() {
    let store = memory();
    submit(&store, "a heart").await;
    submit(&store, "a house").await;
    let (_worker, mut orders) = play(&store, "w", GRACE);
    let said = async || {
        // Longer than the interval of heartbeats.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let record = store.workers().await.unwrap()[0].record.clone();
        (record.state, record.progress)
    };
    let at = |step| Some(Progress { step, steps: 10 });
    let mut one = orders.next().await.begin();
    one.step(9);
    one.last_step();
    let other = orders.next().await;
    assert_eq!(said().await, (WorkerState::Busy, at(8)), "the job ahead changes nothing");
    one.step(10);
    one.hand_over();
    let mut other = other.begin();
    assert_eq!(said().await, (WorkerState::Busy, None), "the next job has begun");
    other.step(1);
    assert_eq!(said().await, (WorkerState::Busy, at(0)));
    other.hand_over();
    assert_eq!(said().await, (WorkerState::Idle, None));
}
