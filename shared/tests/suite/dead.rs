//! Dead jobs and their retries.

use std::time::Duration;

use glimpse_shared::{
    event::FailureCode,
    id::App,
    job::{DeadJob, Job, Release, Status},
    store::{Claim, Finish, Retry},
};

use super::{Fixture, START, app, completed, job, job_of, plain_claim, worker};

/// Fails every attempt of a job.
async fn kill(fixture: &Fixture, job: &Job) {
    for number in 1.. {
        let claim = Claim { app: job.app.clone(), ..plain_claim(worker(&format!("w-{}", job.id)), number) };
        let lease = fixture.store.try_claim(&claim).await.unwrap().expect("the job, which is the only one");
        assert_eq!(lease.job.id, job.id);
        fixture.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
        if fixture.store.status(job.id).await.unwrap().unwrap().status == Status::Failed {
            return;
        }
    }
}

async fn dead(fixture: &Fixture, app: Option<&App>) -> Vec<String> {
    let dead = fixture.store.dead(app).await.unwrap();
    dead.iter().map(|dead| dead.id.to_string()).collect()
}

fn ids(jobs: &[&Job]) -> Vec<String> {
    jobs.iter().map(|job| job.id.to_string()).collect()
}

pub async fn the_dead_are_listed_newest_first(fixture: &Fixture) {
    let other: App = "glimpse/other".parse().unwrap();
    assert_ne!(app().partition(), other.partition());
    let jobs = [job("one"), job_of(&other, "two"), job("three — 🪁")];
    for job in &jobs {
        fixture.submit(job).await;
        kill(fixture, job).await;
        fixture.pass(1);
    }
    let done = job("a good one");
    fixture.submit(&done).await;
    let mut lease = fixture.claim("w1").await;
    assert_eq!(fixture.store.finish(&mut lease, &completed()).await.unwrap(), Finish::Finished);

    let newest = DeadJob {
        id: jobs[2].id,
        app: app(),
        code: FailureCode::AttemptsExhausted,
        message: "given up after 3 attempts: it broke".to_owned(),
        finished_at: START.after(Duration::from_secs(2)),
        attempt: 3,
    };
    assert_eq!(fixture.store.dead(None).await.unwrap()[0], newest);
    assert_eq!(dead(fixture, None).await, ids(&[&jobs[2], &jobs[1], &jobs[0]]));
    assert_eq!(dead(fixture, Some(&app())).await, ids(&[&jobs[2], &jobs[0]]));
    assert_eq!(dead(fixture, Some(&other)).await, ids(&[&jobs[1]]));
    fixture.store.forget(jobs[2].id).await.unwrap();
    assert_eq!(dead(fixture, Some(&app())).await, ids(&[&jobs[0]]));
}

pub async fn a_dead_job_is_retried_as_a_new_one(fixture: &Fixture) {
    let old = Job { start_timeout: Duration::from_secs(50), ..job("a heart") };
    fixture.submit(&old).await;
    kill(fixture, &old).await;
    fixture.pass(600);
    let id = old.id.retried();
    assert_eq!(id.partition(), old.id.partition());
    assert_eq!(fixture.store.retry(old.id).await.unwrap(), Retry::Submitted { id, position: 0 });
    assert_eq!(dead(fixture, None).await, ids(&[]));
    let state = fixture.store.status(id).await.unwrap().unwrap();
    assert_eq!((state.id, state.retry_of), (id, Some(old.id)));
    assert_eq!((state.status, state.attempt, state.seq.0), (Status::Queued, 0, 1));
    // Its deadlines start again.
    fixture.pass(49);
    assert_eq!(fixture.reap().await, (vec![], vec![]));
    let mut lease = fixture.claim("w1").await;
    assert_eq!(lease.job, Job { id, retry_of: Some(old.id), ..old.clone() });
    assert_eq!(lease.attempt, 1);
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(fixture.store.status(old.id).await.unwrap().unwrap().status, Status::Failed);
    assert_eq!(fixture.kinds(old.id).await, ["failed"]);
}

pub async fn a_retry_asked_for_many_times_is_one_job(fixture: &Fixture) {
    let old = job("a heart");
    fixture.submit(&old).await;
    kill(fixture, &old).await;
    let id = old.id.retried();
    let answers = futures::future::join_all((0..8).map(|_| fixture.store.retry(old.id))).await;
    let mut made = 0;
    for answer in answers {
        match answer.unwrap() {
            Retry::Submitted { id: new, position: 0 } if new == id => made += 1,
            Retry::Duplicate { id: new } if new == id => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 1);
    let mut lease = fixture.claim("w1").await;
    assert_eq!(fixture.try_claim(&worker("w2"), 1).await, None);
    // And after its end, while it is known.
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(fixture.store.retry(old.id).await.unwrap(), Retry::Duplicate { id });
    fixture.store.forget(id).await.unwrap();
    assert_eq!(fixture.store.retry(old.id).await.unwrap(), Retry::Unknown);
}

pub async fn only_the_dead_are_retried(fixture: &Fixture) {
    assert_eq!(fixture.store.retry(job("never submitted").id).await.unwrap(), Retry::Unknown);
    let job = job("a heart");
    fixture.submit(&job).await;
    assert_eq!(fixture.store.retry(job.id).await.unwrap(), Retry::Unknown);
    let mut lease = fixture.claim("w1").await;
    assert_eq!(fixture.store.retry(job.id).await.unwrap(), Retry::Unknown);
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(fixture.store.retry(job.id).await.unwrap(), Retry::Unknown);
    assert_eq!(fixture.store.status(job.id.retried()).await.unwrap(), None);
}

pub async fn a_retried_job_that_dies_is_retried_again(fixture: &Fixture) {
    let first = job("poison");
    fixture.submit(&first).await;
    kill(fixture, &first).await;
    fixture.store.retry(first.id).await.unwrap();
    let second = first.retried();
    kill(fixture, &second).await;
    assert_eq!(dead(fixture, None).await, ids(&[&second]));
    let third = second.retried();
    assert_eq!(fixture.store.retry(second.id).await.unwrap(), Retry::Submitted { id: third.id, position: 0 });
    assert_eq!(third.retry_of, Some(second.id));
    assert_eq!(fixture.store.retry(first.id).await.unwrap(), Retry::Duplicate { id: second.id });
}

pub async fn a_retry_into_a_full_queue_changes_nothing(fixture: &Fixture) {
    let old = job("a heart");
    fixture.submit(&old).await;
    kill(fixture, &old).await;
    for n in 0..fixture.rules.queue_limit {
        fixture.submit(&job(&format!("job {n}"))).await;
    }
    let waiting = fixture.rules.queue_limit;
    assert_eq!(fixture.store.retry(old.id).await.unwrap(), Retry::Full { waiting, pace: None });
    assert_eq!(dead(fixture, None).await, ids(&[&old]));
    assert_eq!(fixture.store.status(old.id.retried()).await.unwrap(), None);
    fixture.claim("w1").await;
    assert!(matches!(fixture.store.retry(old.id).await.unwrap(), Retry::Submitted { .. }));
}
