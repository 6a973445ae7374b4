//! How jobs end, and how lost ones are requeued.

use std::time::Duration;

use futures::StreamExt;
use glimpse_shared::{
    event::{CancelledBy, Event, FailureCode},
    job::{Job, Release, Status},
    store::{Cancel, Finish, Hold, Released},
};

use super::{Home, SOON, app, completed, job, preview, worker};

pub async fn one_terminal_event_and_the_log_is_it_alone(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    home.publish(&mut lease, 0).await;
    home.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(home.kinds(job.id).await, ["completed"]);
    let ended = home.store.cancel(job.id, CancelledBy::Client).await.unwrap();
    assert_eq!(ended, Cancel::AlreadyDone(Status::Completed));
    home.pass(7200);
    assert_eq!(home.reap().await, (vec![], vec![]));
}

pub async fn a_waiting_job_is_cancelled_at_once(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    assert_eq!(home.store.cancel(job.id, CancelledBy::Operator).await.unwrap(), Cancel::Cancelled);
    assert_eq!(home.log(job.id).await, [(2, Event::Cancelled { by: CancelledBy::Operator })]);
    assert_eq!(home.try_claim(&worker("w1"), 1).await, None);
    home.pass(7200);
    assert_eq!(home.reap().await, (vec![], vec![]));
}

pub async fn a_running_job_is_cancelled_and_its_worker_told(home: &Home) {
    let mut cancellations = home.store.cancellations(&app());
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    assert_eq!(home.store.cancel(job.id, CancelledBy::Client).await.unwrap(), Cancel::Cancelled);
    let notified = tokio::time::timeout(SOON, cancellations.next()).await.unwrap();
    assert_eq!(notified, Some(job.id));

    assert_eq!(home.store.renew(&lease, None).await.unwrap(), Hold::Cancelled);
    let late = preview(&lease, 5);
    assert_eq!(home.store.publish(&mut lease, &late).await.unwrap(), Hold::Cancelled);
    assert_eq!(home.store.release(&lease, &Release::Drain).await.unwrap(), Released::Cancelled);
    assert_eq!(home.store.finish(&mut lease, &completed()).await.unwrap(), Finish::Cancelled);
    assert_eq!(home.kinds(job.id).await, ["cancelled"]);
}

pub async fn cancelling_twice_is_no_error(home: &Home) {
    let job = job("a heart");
    assert_eq!(home.store.cancel(job.id, CancelledBy::Client).await.unwrap(), Cancel::Unknown);
    home.submit(&job).await;
    home.store.cancel(job.id, CancelledBy::Client).await.unwrap();
    let again = home.store.cancel(job.id, CancelledBy::Disconnect).await.unwrap();
    assert_eq!(again, Cancel::AlreadyDone(Status::Cancelled));
}

pub async fn a_job_that_no_worker_claims_times_out(home: &Home) {
    let hasty = Job { start_timeout: Duration::from_secs(10), ..job("hasty") };
    home.submit(&hasty).await;
    home.pass(9);
    assert_eq!(home.reap().await, (vec![], vec![]));
    home.pass(1);
    assert_eq!(home.reap().await, (vec![hasty.id], vec![]));
    let log = home.log(hasty.id).await;
    assert!(matches!(log[..], [(2, Event::Failed { code: FailureCode::StartTimeout, .. })]), "{log:?}");
    assert_eq!(home.try_claim(&worker("w1"), 1).await, None);
}

pub async fn a_job_that_takes_too_long_times_out(home: &Home) {
    let short = Job { run_timeout: Duration::from_secs(20), ..job("short") };
    home.submit(&short).await;
    home.pass(100);
    let mut lease = home.claim("w1").await;
    home.pass(10);
    home.store.renew(&lease, None).await.unwrap();
    home.pass(10);
    assert_eq!(home.reap().await, (vec![short.id], vec![]));
    assert_eq!(home.store.finish(&mut lease, &completed()).await.unwrap(), Finish::Lost);
    let log = home.log(short.id).await;
    assert!(matches!(log[..], [(3, Event::Failed { code: FailureCode::RunTimeout, .. })]), "{log:?}");
}

pub async fn a_run_deadline_is_never_reset(home: &Home) {
    let short = Job { run_timeout: Duration::from_secs(30), ..job("short") };
    home.submit(&short).await;
    let lease = home.claim("w1").await;
    home.pass(10);
    home.store.release(&lease, &Release::Drain).await.unwrap();
    home.pass(10);
    home.claim("w2").await;
    home.pass(10);
    // The second lease has five seconds left: the deadline comes first.
    assert_eq!(home.reap().await, (vec![short.id], vec![]));

    // The deadline also runs while the job is queued again.
    let waiting = Job { run_timeout: Duration::from_secs(30), ..job("waiting") };
    home.submit(&waiting).await;
    let lease = home.claim("w1").await;
    home.store.release(&lease, &Release::Drain).await.unwrap();
    home.pass(29);
    assert_eq!(home.reap().await, (vec![], vec![]));
    home.pass(1);
    assert_eq!(home.reap().await, (vec![waiting.id], vec![]));
    let log = home.log(waiting.id).await;
    assert!(matches!(log[..], [(4, Event::Failed { code: FailureCode::RunTimeout, .. })]), "{log:?}");
}

pub async fn a_lost_worker_gives_its_job_back_in_its_place(home: &Home) {
    let (first, second) = (job("first"), job("second"));
    home.submit(&first).await;
    home.pass(1);
    home.submit(&second).await;
    home.claim("w1").await;
    home.pass(15);
    assert_eq!(home.reap().await, (vec![], vec![first.id]));
    assert_eq!(home.kinds(first.id).await, ["queued", "started", "queued"]);
    let state = home.store.status(first.id).await.unwrap().unwrap();
    assert_eq!(
        (state.status, state.attempt, state.worker, state.position),
        (Status::Queued, 1, None, Some(0))
    );
    let lease = home.claim("w2").await;
    assert_eq!((lease.job.id, lease.attempt), (first.id, 2));
}

pub async fn a_late_reap_does_nothing(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    home.claim("w1").await;
    home.pass(16);
    let seen = home.store.now().await.unwrap();
    home.pass(6);
    assert!(home.store.reap(seen).await.unwrap().given_back.is_empty());
    assert_eq!(home.reap().await, (vec![], vec![job.id]));
}

pub async fn three_faults_kill_a_job(home: &Home) {
    let job = job("poison");
    home.submit(&job).await;
    for attempt in 1..=2 {
        let lease = home.claim("w1").await;
        assert_eq!(lease.attempt, attempt);
        let fault = Release::Fault("out of \"memory\" — naïve 🪁".to_owned());
        assert_eq!(home.store.release(&lease, &fault).await.unwrap(), Released::Released);
    }
    let lease = home.claim("w1").await;
    let fault = Release::Fault("device \\ error\n".to_owned());
    assert_eq!(home.store.release(&lease, &fault).await.unwrap(), Released::Released);
    let log = home.log(job.id).await;
    let message = "given up after 3 attempts: device \\ error\n".to_owned();
    assert_eq!(log, [(7, Event::Failed { code: FailureCode::AttemptsExhausted, message })]);
    assert_eq!(home.try_claim(&worker("w2"), 1).await, None);
}

pub async fn drains_do_not_count(home: &Home) {
    let job = job("patient");
    home.submit(&job).await;
    for _ in 0..5 {
        let lease = home.claim("w1").await;
        home.store.release(&lease, &Release::Drain).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(home.store.status(job.id).await.unwrap().unwrap().status, Status::Queued);
        home.claim("w1").await;
        home.pass(16);
        home.reap().await;
    }
    let state = home.store.status(job.id).await.unwrap().unwrap();
    assert_eq!((state.status, state.attempt), (Status::Failed, 8));
    let message = "given up after 3 attempts: the worker was lost".to_owned();
    assert_eq!(home.log(job.id).await[0].1, Event::Failed { code: FailureCode::AttemptsExhausted, message });
}

pub async fn reaping_looks_again(home: &Home) {
    home.submit(&job("a heart")).await;
    let lease = home.claim("w1").await;
    home.pass(16);
    // Late, but before a reaping pass: the lease is renewed.
    assert_eq!(home.store.renew(&lease, None).await.unwrap(), Hold::Held);
    assert_eq!(home.reap().await, (vec![], vec![]));
}
