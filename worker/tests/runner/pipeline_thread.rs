//! The real pipeline's thread, with a job that waits behind another.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use glimpse_shared::{
    job::{Release, Status},
    store::{Checkpoint, SharedStore},
    telemetry::Stages,
};
use glimpse_worker::{
    checkpoints::Checkpoints,
    engine::{Engine, Order},
    outbox::Outbox,
    pipeline::Inputs,
    runner::Ended,
};
use tokio::sync::{oneshot, watch};

use crate::{
    props::{GRACE, assert_completes, memory},
    script::{Gate, Mishap, Script, flaky::Flaky, start, submit, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_step_of_the_next_job_comes_before_the_finish_of_the_first() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, script): (SharedStore, _) = (flaky.clone(), Script::default());
    flaky.holds_finishes.send_replace(true);
    let (first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let _worker = start(&store, &script, "w", GRACE).await;
    script.gate.let_through(11);
    until(async || script.steps.load(Ordering::SeqCst) == 11).await;
    assert_eq!(store.status(first).await.unwrap().unwrap().status, Status::Running);
    flaky.holds_finishes.send_replace(false);
    script.gate.open();
    assert_completes(&store, first).await;
    assert_completes(&store, second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_behind_a_lost_device_is_given_back_and_counts_no_attempt() {
    let flaky = Arc::new(Flaky::new(memory(), true));
    let store: SharedStore = flaky.clone();
    let gate = Arc::new(Gate::default());
    let mishaps = [("a heart", Mishap::DeviceAtTheEnd)].into();
    let script = Script { mishaps, decoding: Some(gate.clone()), ..Script::default() };
    script.gate.open();
    let (first, second) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let worker = start(&store, &script, "w", GRACE).await;
    until(async || {
        let ahead = store.status(second).await.unwrap().unwrap();
        gate.is_waited_at() && ahead.status == Status::Running
    })
    .await;
    gate.open();
    assert_eq!(worker.end().await, Ended::DeviceFault);
    assert_eq!(script.steps.load(Ordering::SeqCst), 10, "the second job did not begin on the lost device");
    let fault = Release::Fault("the device fell off the bus".to_owned());
    let released = flaky.released.lock().unwrap().clone();
    assert_eq!(released.len(), 2, "{released:?}");
    assert!(
        released.contains(&(first, fault)) && released.contains(&(second, Release::Drain)),
        "{released:?}"
    );

    let healthy = Script::default();
    healthy.gate.open();
    let _worker = start(&store, &healthy, "w", GRACE).await;
    assert_completes(&store, first).await;
    assert_completes(&store, second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_too_large_for_a_workers_memory_is_left_to_another_worker() {
    let store = memory();
    let script = Script { mishaps: [("a heart", Mishap::OutOfMemory)].into(), ..Script::default() };
    script.gate.open();
    let _small = start(&store, &script, "small", GRACE).await;
    let (job, next) = (submit(&store, "a heart").await, submit(&store, "a house").await);
    let said = async || store.workers().await.unwrap()[0].record.max_pixels;
    until(async || said().await == 16 * 8 / 2).await;
    // Of the same size, so the small worker does not try it.
    for waiting in [job, next] {
        assert_eq!(store.status(waiting).await.unwrap().unwrap().status, Status::Queued);
    }
    assert_eq!(script.steps.load(Ordering::SeqCst), 0);

    let large = Script::default();
    large.gate.open();
    let _large = start(&store, &large, "large", GRACE).await;
    assert_completes(&store, job).await;
    assert_completes(&store, next).await;
}

/// Orders a job of this many steps, and returns whether its last step has begun.
fn order(engine: &Engine, steps: usize, checkpoint: Option<u8>) -> Arc<AtomicBool> {
    let begun = Arc::new(AtomicBool::new(false));
    let told = begun.clone();
    let inputs = Inputs { num_inference_steps: steps, ..Inputs::new("a heart", 16, 8) };
    engine.order(Order {
        prepare: Box::new(move || Ok(inputs)),
        resume: checkpoint.and_then(|step| Checkpoint::new(vec![step])),
        checkpoints: Checkpoints::never(),
        last_step: Box::new(move || assert!(!told.swap(true, Ordering::SeqCst))),
        observer: Box::new(|_| None),
        stop: watch::channel(None).1,
        finish_early: watch::channel(None).1,
        outbox: Arc::new(Outbox::default()),
        stages: Stages::default(),
        done: oneshot::channel().0,
    });
    begun
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_step_is_announced_before_it_begins() {
    let decoding = Arc::new(Gate::default());
    let script = Script { decoding: Some(decoding.clone()), ..Script::default() };
    let ours = script.clone();
    let (engine, _) = Engine::start(move || Ok::<_, std::io::Error>(ours)).await.unwrap();
    let at_step = async |step| {
        until(async || script.steps.load(Ordering::SeqCst) == step && script.gate.is_waited_at()).await;
    };
    let begun = order(&engine, 3, None);
    script.gate.let_through(1);
    at_step(1).await;
    assert!(!begun.load(Ordering::SeqCst));
    script.gate.let_through(1);
    at_step(2).await;
    assert!(begun.load(Ordering::SeqCst));
    script.gate.let_through(1);
    decoding.let_through(1);
    // Jobs of one step, resumed before the last step, and resumed behind it.
    for (steps, checkpoint, at) in [(1, None, 3), (10, Some(9), 4)] {
        let begun = order(&engine, steps, checkpoint);
        at_step(at).await;
        assert!(begun.load(Ordering::SeqCst), "{steps} steps from {checkpoint:?}");
        script.gate.let_through(1);
        decoding.let_through(1);
    }
    let begun = order(&engine, 10, Some(10));
    until(async || begun.load(Ordering::SeqCst) && decoding.is_waited_at()).await;
    assert_eq!(script.steps.load(Ordering::SeqCst), 5);
    decoding.open();
}
