//! Jobs that were given up on, and how they come back.

use std::time::Duration;

use glimpse_shared::{
    event::FailureCode,
    id::App,
    job::{DeadJob, Job, Release, Status},
    store::{Claim, Finish, Retry},
};

use super::{Home, START, app, completed, job, job_of, plain_claim, worker};

/// Lets every attempt at a job go wrong; answers when the last one did.
async fn kill(home: &Home, job: &Job) {
    for number in 1.. {
        let claim = Claim { app: job.app.clone(), ..plain_claim(worker(&format!("w-{}", job.id)), number) };
        let lease = home.store.try_claim(&claim).await.unwrap().expect("the job, which is the only one");
        assert_eq!(lease.job.id, job.id);
        home.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
        if home.store.status(job.id).await.unwrap().unwrap().status == Status::Failed {
            return;
        }
    }
}

async fn dead(home: &Home, app: Option<&App>) -> Vec<String> {
    let dead = home.store.dead(app).await.unwrap();
    dead.iter().map(|dead| dead.id.to_string()).collect()
}

fn ids(jobs: &[&Job]) -> Vec<String> {
    jobs.iter().map(|job| job.id.to_string()).collect()
}

pub async fn the_dead_are_listed_newest_first(home: &Home) {
    let other: App = "glimpse/other".parse().unwrap();
    assert_ne!(app().partition(), other.partition());
    let jobs = [job("one"), job_of(&other, "two"), job("three — 🪁")];
    for job in &jobs {
        home.submit(job).await;
        kill(home, job).await;
        home.pass(1);
    }
    let done = job("a good one");
    home.submit(&done).await;
    let mut lease = home.claim("w1").await;
    assert_eq!(home.store.finish(&mut lease, &completed()).await.unwrap(), Finish::Finished);

    let newest = DeadJob {
        id: jobs[2].id,
        app: app(),
        code: FailureCode::AttemptsExhausted,
        message: "given up after 3 attempts: it broke".to_owned(),
        finished_at: START.after(Duration::from_secs(2)),
        attempt: 3,
    };
    assert_eq!(home.store.dead(None).await.unwrap()[0], newest);
    assert_eq!(dead(home, None).await, ids(&[&jobs[2], &jobs[1], &jobs[0]]));
    assert_eq!(dead(home, Some(&app())).await, ids(&[&jobs[2], &jobs[0]]));
    assert_eq!(dead(home, Some(&other)).await, ids(&[&jobs[1]]));
    home.store.forget(jobs[2].id).await.unwrap();
    assert_eq!(dead(home, Some(&app())).await, ids(&[&jobs[0]]));
}

pub async fn a_dead_job_is_retried_as_a_new_one(home: &Home) {
    let old = Job { start_timeout: Duration::from_secs(50), ..job("a heart") };
    home.submit(&old).await;
    kill(home, &old).await;
    home.pass(600);
    let id = old.id.retried();
    assert_eq!(id.partition(), old.id.partition());
    assert_eq!(home.store.retry(old.id).await.unwrap(), Retry::Submitted { id, position: 0 });
    assert_eq!(dead(home, None).await, ids(&[]));
    let state = home.store.status(id).await.unwrap().unwrap();
    assert_eq!((state.id, state.retry_of), (id, Some(old.id)));
    assert_eq!((state.status, state.attempt, state.seq.0), (Status::Queued, 0, 1));
    // Its deadlines start again.
    home.pass(49);
    assert_eq!(home.reap().await, (vec![], vec![]));
    let mut lease = home.claim("w1").await;
    assert_eq!(lease.job, Job { id, retry_of: Some(old.id), ..old.clone() });
    assert_eq!(lease.attempt, 1);
    home.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(home.store.status(old.id).await.unwrap().unwrap().status, Status::Failed);
    assert_eq!(home.kinds(old.id).await, ["failed"]);
}

pub async fn a_retry_asked_for_many_times_is_one_job(home: &Home) {
    let old = job("a heart");
    home.submit(&old).await;
    kill(home, &old).await;
    let id = old.id.retried();
    let answers = futures::future::join_all((0..8).map(|_| home.store.retry(old.id))).await;
    let mut made = 0;
    for answer in answers {
        match answer.unwrap() {
            Retry::Submitted { id: new, position: 0 } if new == id => made += 1,
            Retry::Duplicate { id: new } if new == id => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 1);
    let mut lease = home.claim("w1").await;
    assert_eq!(home.try_claim(&worker("w2"), 1).await, None);
    // And after its end, while it is known.
    home.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(home.store.retry(old.id).await.unwrap(), Retry::Duplicate { id });
    home.store.forget(id).await.unwrap();
    assert_eq!(home.store.retry(old.id).await.unwrap(), Retry::Unknown);
}

pub async fn only_the_dead_are_retried(home: &Home) {
    assert_eq!(home.store.retry(job("never submitted").id).await.unwrap(), Retry::Unknown);
    let job = job("a heart");
    home.submit(&job).await;
    assert_eq!(home.store.retry(job.id).await.unwrap(), Retry::Unknown);
    let mut lease = home.claim("w1").await;
    assert_eq!(home.store.retry(job.id).await.unwrap(), Retry::Unknown);
    home.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(home.store.retry(job.id).await.unwrap(), Retry::Unknown);
    assert_eq!(home.store.status(job.id.retried()).await.unwrap(), None);
}

pub async fn a_retried_job_that_dies_is_retried_again(home: &Home) {
    let first = job("poison");
    home.submit(&first).await;
    kill(home, &first).await;
    home.store.retry(first.id).await.unwrap();
    let second = first.retried();
    kill(home, &second).await;
    assert_eq!(dead(home, None).await, ids(&[&second]));
    let third = second.retried();
    assert_eq!(home.store.retry(second.id).await.unwrap(), Retry::Submitted { id: third.id, position: 0 });
    assert_eq!(third.retry_of, Some(second.id));
    assert_eq!(home.store.retry(first.id).await.unwrap(), Retry::Duplicate { id: second.id });
}

pub async fn a_retry_into_a_full_queue_changes_nothing(home: &Home) {
    let old = job("a heart");
    home.submit(&old).await;
    kill(home, &old).await;
    for n in 0..home.rules.queue_limit {
        home.submit(&job(&format!("job {n}"))).await;
    }
    let waiting = home.rules.queue_limit;
    assert_eq!(home.store.retry(old.id).await.unwrap(), Retry::Full { waiting, pace: None });
    assert_eq!(dead(home, None).await, ids(&[&old]));
    assert_eq!(home.store.status(old.id.retried()).await.unwrap(), None);
    home.claim("w1").await;
    assert!(matches!(home.store.retry(old.id).await.unwrap(), Retry::Submitted { .. }));
}
