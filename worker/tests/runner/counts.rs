//! What a worker counts of its work.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use glimpse_shared::{
    event::CancelledBy,
    id::Micros,
    job::Status,
    metrics::{Metrics, Role},
    store::{Clock, Rules, SharedStore, memory::MemoryStore},
};
use glimpse_test_support::metrics::Parsed;
use glimpse_worker::{engine::Engine, loras::Loras};

use crate::{
    props::{GRACE, assert_completes},
    script::{Running, Script, app, run_counting, submit, until},
};

/// A store and a worker of one process, with their metrics.
async fn counted(script: &Script, clock: Clock) -> (SharedStore, Metrics, Running) {
    let metrics = Metrics::new(Role::Worker);
    metrics.jobs.know(&app());
    let memory = MemoryStore::new(Rules::default(), clock).counting(metrics.jobs.clone());
    let store: SharedStore = Arc::new(memory);
    let ours = script.clone();
    let (engine, _) = Engine::start(move || Ok::<_, std::io::Error>(ours)).await.unwrap();
    let (times, files) = ((GRACE, Duration::ZERO), (Loras::default(), None));
    let (running, ready) = run_counting(&store, engine, "w", times, files, metrics.work.clone());
    ready.await.unwrap();
    (store, metrics, running)
}

fn parsed(metrics: &Metrics) -> Parsed {
    Parsed::of(&metrics.text(Vec::new()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_counted_once_with_its_steps_and_stages() {
    let script = Script::default();
    let (store, metrics, _running) = counted(&script, Clock::Store).await;
    let ended = |parsed: &Parsed, outcome| {
        parsed.value("glimpse_jobs_total", &[("app", app().as_str()), ("outcome", outcome)])
    };
    let before = parsed(&metrics);
    for outcome in ["completed", "failed", "cancelled"] {
        assert_eq!(ended(&before, outcome), 0.0);
    }
    assert_eq!(before.value("glimpse_steps_total", &[]), 0.0);

    script.gate.open();
    let job = submit(&store, "a heart").await;
    assert_completes(&store, job).await;
    // The publish of the end is counted when its answer is there.
    until(async || parsed(&metrics).count("glimpse_stage_seconds", &[("stage", "decode")]) == 1.0).await;
    let after = parsed(&metrics);
    assert_eq!(ended(&after, "completed"), 1.0);
    assert_eq!(ended(&after, "failed") + ended(&after, "cancelled"), 0.0);
    let steps = after.value("glimpse_steps_total", &[]);
    let stage = |name| after.count("glimpse_stage_seconds", &[("stage", name)]);
    assert!(steps > 0.0);
    assert_eq!((stage("denoise"), stage("decode")), (steps, 1.0));
    assert!(stage("preview") > 0.0 && stage("preview") < steps);
    assert!(stage("encode") > 1.0, "previews and the picture");
    assert!(after.value("glimpse_preview_overhead_ratio", &[]).is_finite());
    assert_eq!(after.value("glimpse_leases_lost_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_is_no_lost_lease() {
    let script = Script::default();
    let (store, metrics, _running) = counted(&script, Clock::Store).await;
    let job = submit(&store, "a heart").await;
    script.gate.let_through(2);
    until(async || store.status(job).await.unwrap().unwrap().status == Status::Running).await;
    store.cancel(job, CancelledBy::Client).await.unwrap();
    script.gate.open();
    let next = submit(&store, "a house").await;
    assert_completes(&store, next).await;
    let after = parsed(&metrics);
    assert_eq!(after.value("glimpse_jobs_total", &[("app", app().as_str()), ("outcome", "cancelled")]), 1.0);
    assert_eq!(after.value("glimpse_leases_lost_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_given_to_others_is_one_lost_lease() {
    let script = Script::default();
    let clock = Clock::manual(Micros(1_700_000_000_000_000));
    let (store, metrics, _running) = counted(&script, clock.clone()).await;
    let job = submit(&store, "a heart").await;
    script.gate.let_through(1);
    until(async || script.steps.load(Ordering::SeqCst) == 1 && script.gate.is_waited_at()).await;
    clock.advance(Duration::from_secs(16));
    let reaped = store.reap(store.now().await.unwrap()).await.unwrap();
    assert_eq!(reaped.given_back, [job]);
    script.gate.open();
    assert_completes(&store, job).await;
    let after = parsed(&metrics);
    assert_eq!(after.value("glimpse_leases_lost_total", &[]), 1.0);
    assert_eq!(after.value("glimpse_jobs_total", &[("app", app().as_str()), ("outcome", "completed")]), 1.0);
}
