//! Requests to finish a running job with the picture that it has.

use futures::StreamExt;
use glimpse_shared::{
    event::CancelledBy,
    job::{Job, Release, Status},
    store::{Cancel, Finish, FinishEarly, Hold, Lease, Retry},
};

use super::{Fixture, SOON, app, completed, job, preview, worker};

/// A job whose newest preview is that of step `step`, and its lease.
async fn running(fixture: &Fixture, step: u32) -> (Job, Lease) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    fixture.publish(&mut lease, step).await;
    (job, lease)
}

async fn asked(fixture: &Fixture, job: &Job) -> FinishEarly {
    fixture.store.finish_early(job.id).await.unwrap()
}

pub async fn a_worker_is_told_to_finish_early(fixture: &Fixture) {
    let mut told = fixture.store.early_finishes(&app());
    let mut cancelled = fixture.store.cancellations(&app());
    let (job, mut lease) = running(fixture, 5).await;
    let before = fixture.kinds(job.id).await;
    assert_eq!(asked(fixture, &job).await, FinishEarly::Asked);
    assert_eq!(tokio::time::timeout(SOON, told.next()).await.unwrap(), Some((job.id, 5)));
    // The request has no event, and the worker goes on writing with its next number.
    assert_eq!(fixture.kinds(job.id).await, before);
    assert_eq!(fixture.store.renew(&lease, None).await.unwrap(), Hold::FinishEarly(5));
    let next = preview(&lease, 7);
    assert_eq!(fixture.store.publish(&mut lease, &next).await.unwrap(), Hold::FinishEarly(5));
    // Asked again: the same answer, and the step of the first request.
    assert_eq!(asked(fixture, &job).await, FinishEarly::Asked);
    assert_eq!(fixture.store.status(job.id).await.unwrap().unwrap().finish_early, Some(5));
    assert_eq!(fixture.store.finish(&mut lease, &completed()).await.unwrap(), Finish::Finished);
    assert_eq!(fixture.kinds(job.id).await, ["completed"]);
    assert_eq!(asked(fixture, &job).await, FinishEarly::AlreadyDone(Status::Completed));
    // Nobody was told of a cancel.
    let other = self::job("another");
    fixture.submit(&other).await;
    fixture.claim("w1").await;
    fixture.store.cancel(other.id, CancelledBy::Client).await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, cancelled.next()).await.unwrap(), Some(other.id));
}

pub async fn a_job_finishes_early_only_after_its_first_step(fixture: &Fixture) {
    let job = job("a heart");
    assert_eq!(asked(fixture, &job).await, FinishEarly::Unknown);
    fixture.submit(&job).await;
    assert_eq!(asked(fixture, &job).await, FinishEarly::TooEarly);
    let mut lease = fixture.claim("w1").await;
    assert_eq!(lease.finish_early, None);
    assert_eq!(asked(fixture, &job).await, FinishEarly::TooEarly);
    assert_eq!(fixture.store.renew(&lease, None).await.unwrap(), Hold::Held);
    fixture.publish(&mut lease, 0).await;
    assert_eq!(asked(fixture, &job).await, FinishEarly::Asked);
    // What is queued again without a request has no step either.
    let other = self::job("another");
    fixture.submit(&other).await;
    let mut lease = fixture.claim("w2").await;
    fixture.publish(&mut lease, 3).await;
    fixture.store.release(&lease, &Release::Drain).await.unwrap();
    assert_eq!(asked(fixture, &other).await, FinishEarly::TooEarly);
}

pub async fn a_job_without_previews_finishes_early_as_soon_as_it_runs(fixture: &Fixture) {
    let mut spec = serde_json::to_value(job("a heart").spec).unwrap();
    spec["preview_every"] = 0.into();
    let job = Job { spec: serde_json::from_value(spec).unwrap(), ..job("a heart") };
    fixture.submit(&job).await;
    assert_eq!(asked(fixture, &job).await, FinishEarly::TooEarly);
    let lease = fixture.claim("w1").await;
    assert_eq!(asked(fixture, &job).await, FinishEarly::Asked);
    assert_eq!(fixture.store.renew(&lease, None).await.unwrap(), Hold::FinishEarly(0));
}

pub async fn a_request_to_finish_early_outlives_the_attempt(fixture: &Fixture) {
    let (job, lease) = running(fixture, 5).await;
    asked(fixture, &job).await;
    fixture.store.release(&lease, &Release::Drain).await.unwrap();
    assert_eq!(asked(fixture, &job).await, FinishEarly::Asked);
    let lease = fixture.claim("w2").await;
    assert_eq!((lease.attempt, lease.finish_early), (2, Some(5)));
    // A lost worker, and a fault.
    fixture.pass(16);
    assert_eq!(fixture.reap().await.1, [job.id]);
    let lease = fixture.try_claim(&worker("w3"), 1).await.unwrap();
    assert_eq!(lease.finish_early, Some(5));
    assert_eq!(fixture.try_claim(&worker("w3"), 1).await.unwrap().finish_early, Some(5));
    let fault = Release::Fault("it broke".to_owned());
    fixture.store.release(&lease, &fault).await.unwrap();
    let lease = fixture.claim("w3").await;
    fixture.store.release(&lease, &fault).await.unwrap();
    assert_eq!(asked(fixture, &job).await, FinishEarly::AlreadyDone(Status::Failed));
    // And the job that retries it.
    let Retry::Submitted { id, .. } = fixture.store.retry(job.id).await.unwrap() else {
        panic!("the dead job is retried")
    };
    assert_eq!(fixture.claim("w4").await.finish_early, Some(5));
    assert_eq!(fixture.store.status(id).await.unwrap().unwrap().finish_early, Some(5));
}

pub async fn the_first_end_wins_over_a_request_to_finish_early(fixture: &Fixture) {
    let (job, mut lease) = running(fixture, 5).await;
    asked(fixture, &job).await;
    assert_eq!(fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap(), Cancel::Cancelled);
    assert_eq!(fixture.store.finish(&mut lease, &completed()).await.unwrap(), Finish::Cancelled);
    assert_eq!(asked(fixture, &job).await, FinishEarly::AlreadyDone(Status::Cancelled));
    // A new job of a deleted one's id is not asked.
    fixture.store.forget(job.id).await.unwrap();
    fixture.submit(&job).await;
    assert_eq!(fixture.claim("w1").await.finish_early, None);
}

pub async fn a_job_is_read_as_it_was_submitted(fixture: &Fixture) {
    let job = job("a heart 🪁");
    assert_eq!(fixture.store.job(job.id).await.unwrap(), None);
    fixture.submit(&job).await;
    assert_eq!(fixture.store.job(job.id).await.unwrap(), Some(job.clone()));
    fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap();
    assert_eq!(fixture.store.job(job.id).await.unwrap(), Some(job));
}
