//! In a fleet of different workers each gets only what it is capable of.

use std::time::Duration;

use glimpse_shared::{
    event::{Event, FailureCode},
    job::{Job, Release, Status},
    needs::{Capabilities, Needs, Word},
    store::{Claim, Lease, Retry},
};

use super::{Home, job, plain, plain_claim, worker};

/// Larger than what [`small`] workers make.
pub fn large_job(prompt: &str) -> Job {
    Job { needs: Needs::new(1 << 20, []), ..job(prompt) }
}

/// What a small worker makes.
pub fn small_job(prompt: &str) -> Job {
    Job { needs: Needs::new(64 * 64, []), ..job(prompt) }
}

pub fn ddim_job(prompt: &str) -> Job {
    Job { needs: Needs::new(64 * 64, [Word::scheduler("DDIMScheduler")]), ..job(prompt) }
}

pub fn small() -> Capabilities {
    Capabilities::new(64 * 64, [Word::scheduler("DDIMScheduler"), Word::scheduler("LCMScheduler")])
}

pub fn large() -> Capabilities {
    Capabilities::new(1 << 21, [Word::scheduler("LCMScheduler")])
}

async fn submit(home: &Home, jobs: &[Job]) {
    for job in jobs {
        home.submit(job).await;
        home.pass(1);
    }
}

/// What a worker of these capabilities gets by its first claim.
async fn claim(home: &Home, name: &str, capabilities: Capabilities, loaded: Option<&str>) -> Option<Lease> {
    let affinity = loaded.map(str::to_owned);
    let claim = Claim { affinity, capabilities, ..plain_claim(worker(name), 1) };
    home.store.try_claim(&claim).await.unwrap()
}

pub async fn a_worker_passes_over_what_it_cannot_do(home: &Home) {
    let jobs = [large_job("large"), ddim_job("ddim"), small_job("small"), job("any")];
    submit(home, &jobs).await;
    let id = |lease: Option<Lease>| lease.map(|lease| lease.job.id);
    // Too small for all but the last, for the first, and without the scheduler of the second.
    assert_eq!(id(claim(home, "w1", plain(), None).await), Some(jobs[3].id));
    assert_eq!(id(claim(home, "w2", plain(), None).await), None);
    assert_eq!(id(claim(home, "w3", large(), None).await), Some(jobs[0].id));
    assert_eq!(id(claim(home, "w4", large(), None).await), Some(jobs[2].id));
    assert_eq!(id(claim(home, "w5", large(), None).await), None);
    assert_eq!(home.store.status(jobs[1].id).await.unwrap().unwrap().position, Some(0));
    let lease = claim(home, "w6", small(), None).await;
    assert_eq!(lease.map(|lease| lease.job), Some(jobs[1].clone()));
}

pub async fn affinity_chooses_from_what_a_worker_can_do(home: &Home) {
    let (reach, max_passed) = (home.rules.affinity_reach, home.rules.passed_over as usize);
    // What the worker cannot do takes no place among the first few, and is not counted as passed over.
    let mut jobs: Vec<_> = (0..reach).map(|n| large_job(&format!("large {n}"))).collect();
    jobs.push(small_job("the first"));
    for n in 0..max_passed + 1 {
        jobs.push(Job { affinity: Some("a1".to_owned()), ..small_job(&format!("loaded {n}")) });
    }
    submit(home, &jobs[..reach + 2]).await;
    let lease = claim(home, "w0", small(), Some("a1")).await.unwrap();
    assert_eq!(lease.job.id, jobs[reach + 1].id);
    submit(home, &jobs[reach + 2..]).await;
    for n in 1..max_passed {
        let lease = claim(home, &format!("w{n}"), small(), Some("a1")).await.unwrap();
        assert_eq!(lease.job.id, jobs[reach + 1 + n].id);
    }
    assert_eq!(claim(home, "last", small(), Some("a1")).await.unwrap().job.id, jobs[reach].id);
    // To a worker that can do all of them the one that suits is one place too far behind, and then is not.
    assert_eq!(claim(home, "large", large(), Some("a1")).await.unwrap().job.id, jobs[0].id);
    assert_eq!(
        claim(home, "large-2", large(), Some("a1")).await.unwrap().job.id,
        jobs[reach + 1 + max_passed].id
    );
}

pub async fn a_job_that_no_worker_can_do_waits_for_its_deadline(home: &Home) {
    let large = Job { start_timeout: Duration::from_secs(60), ..large_job("large") };
    submit(home, std::slice::from_ref(&large)).await;
    assert_eq!(claim(home, "w1", small(), None).await, None);
    let state = home.store.status(large.id).await.unwrap().unwrap();
    assert_eq!((state.status, &state.needs), (Status::Queued, &large.needs));
    home.pass(60);
    assert_eq!(home.reap().await.0, [large.id]);
    assert!(matches!(
        home.log(large.id).await.last(),
        Some((2, Event::Failed { code: FailureCode::StartTimeout, .. }))
    ));
}

pub async fn a_requeue_and_a_retry_keep_what_a_job_needs(home: &Home) {
    let job = large_job("large");
    submit(home, std::slice::from_ref(&job)).await;
    for attempt in 0..home.rules.attempts {
        assert_eq!(claim(home, &format!("small-{attempt}"), small(), None).await, None);
        let lease = claim(home, &format!("large-{attempt}"), large(), None).await.unwrap();
        home.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    }
    let Retry::Submitted { id, .. } = home.store.retry(job.id).await.unwrap() else { panic!("not retried") };
    assert_eq!(home.store.status(id).await.unwrap().unwrap().needs, job.needs);
    assert_eq!(claim(home, "small", small(), None).await, None);
    assert_eq!(claim(home, "large", large(), None).await.unwrap().job.needs, job.needs);
}

pub async fn a_long_queue_of_other_jobs_hides_no_job(home: &Home) {
    let mut jobs: Vec<_> = (1..home.rules.queue_limit).map(|n| large_job(&format!("large {n}"))).collect();
    jobs.push(small_job("small"));
    submit(home, &jobs).await;
    let lease = claim(home, "w1", small(), None).await.unwrap();
    assert_eq!(lease.job.id, jobs.last().unwrap().id);
    assert_eq!(claim(home, "w2", small(), None).await, None);
    assert_eq!(claim(home, "w3", large(), None).await.unwrap().job.id, jobs[0].id);
}
