//! The end of jobs, and the requeue of jobs with a lost worker.

use std::time::Duration;

use futures::StreamExt;
use glimpse_shared::{
    event::{CancelledBy, Event, FailureCode},
    job::{Job, Release, Status},
    store::{Cancel, Finish, Hold, Released},
};

use super::{Fixture, SOON, app, completed, job, preview, worker};

pub async fn one_terminal_event_and_the_log_is_it_alone(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    fixture.publish(&mut lease, 0).await;
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(fixture.kinds(job.id).await, ["completed"]);
    let ended = fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap();
    assert_eq!(ended, Cancel::AlreadyDone(Status::Completed));
    fixture.pass(7200);
    assert_eq!(fixture.reap().await, (vec![], vec![]));
}

pub async fn a_waiting_job_is_cancelled_at_once(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    assert_eq!(fixture.store.cancel(job.id, CancelledBy::Operator).await.unwrap(), Cancel::Cancelled);
    assert_eq!(fixture.log(job.id).await, [(2, Event::Cancelled { by: CancelledBy::Operator })]);
    assert_eq!(fixture.try_claim(&worker("w1"), 1).await, None);
    fixture.pass(7200);
    assert_eq!(fixture.reap().await, (vec![], vec![]));
}

pub async fn a_running_job_is_cancelled_and_its_worker_told(fixture: &Fixture) {
    let mut cancellations = fixture.store.cancellations(&app());
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    assert_eq!(fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap(), Cancel::Cancelled);
    let notified = tokio::time::timeout(SOON, cancellations.next()).await.unwrap();
    assert_eq!(notified, Some(job.id));

    assert_eq!(fixture.store.renew(&lease, None).await.unwrap(), Hold::Cancelled);
    let late = preview(&lease, 5);
    assert_eq!(fixture.store.publish(&mut lease, &late).await.unwrap(), Hold::Cancelled);
    assert_eq!(fixture.store.release(&lease, &Release::Drain).await.unwrap(), Released::Cancelled);
    assert_eq!(fixture.store.finish(&mut lease, &completed()).await.unwrap(), Finish::Cancelled);
    assert_eq!(fixture.kinds(job.id).await, ["cancelled"]);
}

pub async fn cancelling_twice_is_no_error(fixture: &Fixture) {
    let job = job("a heart");
    assert_eq!(fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap(), Cancel::Unknown);
    fixture.submit(&job).await;
    fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap();
    let again = fixture.store.cancel(job.id, CancelledBy::Disconnect).await.unwrap();
    assert_eq!(again, Cancel::AlreadyDone(Status::Cancelled));
}

pub async fn a_job_that_no_worker_claims_times_out(fixture: &Fixture) {
    let hasty = Job { start_timeout: Duration::from_secs(10), ..job("hasty") };
    fixture.submit(&hasty).await;
    fixture.pass(9);
    assert_eq!(fixture.reap().await, (vec![], vec![]));
    fixture.pass(1);
    assert_eq!(fixture.reap().await, (vec![hasty.id], vec![]));
    let log = fixture.log(hasty.id).await;
    assert!(matches!(log[..], [(2, Event::Failed { code: FailureCode::StartTimeout, .. })]), "{log:?}");
    assert_eq!(fixture.try_claim(&worker("w1"), 1).await, None);
}

pub async fn a_job_that_takes_too_long_times_out(fixture: &Fixture) {
    let short = Job { run_timeout: Duration::from_secs(20), ..job("short") };
    fixture.submit(&short).await;
    fixture.pass(100);
    let mut lease = fixture.claim("w1").await;
    fixture.pass(10);
    fixture.store.renew(&lease, None).await.unwrap();
    fixture.pass(10);
    assert_eq!(fixture.reap().await, (vec![short.id], vec![]));
    assert_eq!(fixture.store.finish(&mut lease, &completed()).await.unwrap(), Finish::Lost);
    let log = fixture.log(short.id).await;
    assert!(matches!(log[..], [(3, Event::Failed { code: FailureCode::RunTimeout, .. })]), "{log:?}");
}

pub async fn a_run_deadline_is_never_reset(fixture: &Fixture) {
    let short = Job { run_timeout: Duration::from_secs(30), ..job("short") };
    fixture.submit(&short).await;
    let lease = fixture.claim("w1").await;
    fixture.pass(10);
    fixture.store.release(&lease, &Release::Drain).await.unwrap();
    fixture.pass(10);
    fixture.claim("w2").await;
    fixture.pass(10);
    // The second lease has five seconds left: the deadline comes first.
    assert_eq!(fixture.reap().await, (vec![short.id], vec![]));

    // The deadline also runs while the job is queued again.
    let waiting = Job { run_timeout: Duration::from_secs(30), ..job("waiting") };
    fixture.submit(&waiting).await;
    let lease = fixture.claim("w1").await;
    fixture.store.release(&lease, &Release::Drain).await.unwrap();
    fixture.pass(29);
    assert_eq!(fixture.reap().await, (vec![], vec![]));
    fixture.pass(1);
    assert_eq!(fixture.reap().await, (vec![waiting.id], vec![]));
    let log = fixture.log(waiting.id).await;
    assert!(matches!(log[..], [(4, Event::Failed { code: FailureCode::RunTimeout, .. })]), "{log:?}");
}

pub async fn a_lost_worker_gives_its_job_back_in_its_place(fixture: &Fixture) {
    let (first, second) = (job("first"), job("second"));
    fixture.submit(&first).await;
    fixture.pass(1);
    fixture.submit(&second).await;
    fixture.claim("w1").await;
    fixture.pass(15);
    assert_eq!(fixture.reap().await, (vec![], vec![first.id]));
    assert_eq!(fixture.kinds(first.id).await, ["queued", "started", "queued"]);
    let state = fixture.store.status(first.id).await.unwrap().unwrap();
    assert_eq!(
        (state.status, state.attempt, state.worker, state.position),
        (Status::Queued, 1, None, Some(0))
    );
    let lease = fixture.claim("w2").await;
    assert_eq!((lease.job.id, lease.attempt), (first.id, 2));
}

pub async fn a_late_reap_does_nothing(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    fixture.claim("w1").await;
    fixture.pass(16);
    let seen = fixture.store.now().await.unwrap();
    fixture.pass(6);
    assert!(fixture.store.reap(seen).await.unwrap().given_back.is_empty());
    assert_eq!(fixture.reap().await, (vec![], vec![job.id]));
}

pub async fn three_faults_kill_a_job(fixture: &Fixture) {
    let job = job("poison");
    fixture.submit(&job).await;
    for attempt in 1..=2 {
        let lease = fixture.claim("w1").await;
        assert_eq!(lease.attempt, attempt);
        let fault = Release::Fault("out of \"memory\" — naïve 🪁".to_owned());
        assert_eq!(fixture.store.release(&lease, &fault).await.unwrap(), Released::Released);
    }
    let lease = fixture.claim("w1").await;
    let fault = Release::Fault("device \\ error\n".to_owned());
    assert_eq!(fixture.store.release(&lease, &fault).await.unwrap(), Released::Released);
    let log = fixture.log(job.id).await;
    let message = "given up after 3 attempts: device \\ error\n".to_owned();
    assert_eq!(log, [(7, Event::Failed { code: FailureCode::AttemptsExhausted, message })]);
    assert_eq!(fixture.try_claim(&worker("w2"), 1).await, None);
}

pub async fn drains_do_not_count(fixture: &Fixture) {
    let job = job("patient");
    fixture.submit(&job).await;
    for _ in 0..5 {
        let lease = fixture.claim("w1").await;
        fixture.store.release(&lease, &Release::Drain).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(fixture.store.status(job.id).await.unwrap().unwrap().status, Status::Queued);
        fixture.claim("w1").await;
        fixture.pass(16);
        fixture.reap().await;
    }
    let state = fixture.store.status(job.id).await.unwrap().unwrap();
    assert_eq!((state.status, state.attempt), (Status::Failed, 8));
    let message = "given up after 3 attempts: the worker was lost".to_owned();
    assert_eq!(
        fixture.log(job.id).await[0].1,
        Event::Failed { code: FailureCode::AttemptsExhausted, message }
    );
}

pub async fn reaping_looks_again(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let lease = fixture.claim("w1").await;
    fixture.pass(16);
    // Late, but before a reaping pass: the lease is renewed.
    assert_eq!(fixture.store.renew(&lease, None).await.unwrap(), Hold::Held);
    assert_eq!(fixture.reap().await, (vec![], vec![]));
}
