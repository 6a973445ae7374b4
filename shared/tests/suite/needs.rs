//! In a fleet of different workers each worker gets only jobs that it is capable of.

use std::time::Duration;

use glimpse_shared::{
    event::{Event, FailureCode},
    job::{Job, Release, Status},
    needs::{Capabilities, Needs, Word},
    store::{Claim, Lease, Retry},
};

use super::{Fixture, job, plain, plain_claim, worker};

/// A job that is too large for [`small`] workers.
pub fn large_job(prompt: &str) -> Job {
    Job { needs: Needs::new(1 << 20, []), ..job(prompt) }
}

/// A job for a [`small`] worker.
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

async fn submit(fixture: &Fixture, jobs: &[Job]) {
    for job in jobs {
        fixture.submit(job).await;
        fixture.pass(1);
    }
}

/// The first claim of a worker with these capabilities.
async fn claim(
    fixture: &Fixture,
    name: &str,
    capabilities: Capabilities,
    loaded: Option<&str>,
) -> Option<Lease> {
    let affinity = loaded.map(str::to_owned);
    let claim = Claim { affinity, capabilities, ..plain_claim(worker(name), 1) };
    fixture.store.try_claim(&claim).await.unwrap()
}

pub async fn a_worker_passes_over_what_it_cannot_do(fixture: &Fixture) {
    let jobs = [large_job("large"), ddim_job("ddim"), small_job("small"), job("any")];
    submit(fixture, &jobs).await;
    let id = |lease: Option<Lease>| lease.map(|lease| lease.job.id);
    // The plain worker is only capable of the last job; no large worker has the scheduler of the second one.
    assert_eq!(id(claim(fixture, "w1", plain(), None).await), Some(jobs[3].id));
    assert_eq!(id(claim(fixture, "w2", plain(), None).await), None);
    assert_eq!(id(claim(fixture, "w3", large(), None).await), Some(jobs[0].id));
    assert_eq!(id(claim(fixture, "w4", large(), None).await), Some(jobs[2].id));
    assert_eq!(id(claim(fixture, "w5", large(), None).await), None);
    assert_eq!(fixture.store.status(jobs[1].id).await.unwrap().unwrap().position, Some(0));
    let lease = claim(fixture, "w6", small(), None).await;
    assert_eq!(lease.map(|lease| lease.job), Some(jobs[1].clone()));
}

pub async fn affinity_chooses_from_what_a_worker_can_do(fixture: &Fixture) {
    let (reach, max_passed) = (fixture.rules.affinity_reach, fixture.rules.passed_over as usize);
    // A job that the worker is not capable of does not count among the first jobs, nor as passed over.
    let mut jobs: Vec<_> = (0..reach).map(|n| large_job(&format!("large {n}"))).collect();
    jobs.push(small_job("the first"));
    for n in 0..max_passed + 1 {
        jobs.push(Job { affinity: Some("a1".to_owned()), ..small_job(&format!("loaded {n}")) });
    }
    submit(fixture, &jobs[..reach + 2]).await;
    let lease = claim(fixture, "w0", small(), Some("a1")).await.unwrap();
    assert_eq!(lease.job.id, jobs[reach + 1].id);
    submit(fixture, &jobs[reach + 2..]).await;
    for n in 1..max_passed {
        let lease = claim(fixture, &format!("w{n}"), small(), Some("a1")).await.unwrap();
        assert_eq!(lease.job.id, jobs[reach + 1 + n].id);
    }
    assert_eq!(claim(fixture, "last", small(), Some("a1")).await.unwrap().job.id, jobs[reach].id);
    // For a worker that is capable of all jobs, the suitable job is one place too far behind at first.
    assert_eq!(claim(fixture, "large", large(), Some("a1")).await.unwrap().job.id, jobs[0].id);
    assert_eq!(
        claim(fixture, "large-2", large(), Some("a1")).await.unwrap().job.id,
        jobs[reach + 1 + max_passed].id
    );
}

pub async fn a_job_that_no_worker_can_do_waits_for_its_deadline(fixture: &Fixture) {
    let large = Job { start_timeout: Duration::from_secs(60), ..large_job("large") };
    submit(fixture, std::slice::from_ref(&large)).await;
    assert_eq!(claim(fixture, "w1", small(), None).await, None);
    let state = fixture.store.status(large.id).await.unwrap().unwrap();
    assert_eq!((state.status, &state.needs), (Status::Queued, &large.needs));
    fixture.pass(60);
    assert_eq!(fixture.reap().await.0, [large.id]);
    assert!(matches!(
        fixture.log(large.id).await.last(),
        Some((2, Event::Failed { code: FailureCode::StartTimeout, .. }))
    ));
}

pub async fn a_requeue_and_a_retry_keep_what_a_job_needs(fixture: &Fixture) {
    let job = large_job("large");
    submit(fixture, std::slice::from_ref(&job)).await;
    for attempt in 0..fixture.rules.attempts {
        assert_eq!(claim(fixture, &format!("small-{attempt}"), small(), None).await, None);
        let lease = claim(fixture, &format!("large-{attempt}"), large(), None).await.unwrap();
        fixture.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    }
    let Retry::Submitted { id, .. } = fixture.store.retry(job.id).await.unwrap() else {
        panic!("not retried")
    };
    assert_eq!(fixture.store.status(id).await.unwrap().unwrap().needs, job.needs);
    assert_eq!(claim(fixture, "small", small(), None).await, None);
    assert_eq!(claim(fixture, "large", large(), None).await.unwrap().job.needs, job.needs);
}

pub async fn a_long_queue_of_other_jobs_hides_no_job(fixture: &Fixture) {
    let mut jobs: Vec<_> = (1..fixture.rules.queue_limit).map(|n| large_job(&format!("large {n}"))).collect();
    jobs.push(small_job("small"));
    submit(fixture, &jobs).await;
    let lease = claim(fixture, "w1", small(), None).await.unwrap();
    assert_eq!(lease.job.id, jobs.last().unwrap().id);
    assert_eq!(claim(fixture, "w2", small(), None).await, None);
    assert_eq!(claim(fixture, "w3", large(), None).await.unwrap().job.id, jobs[0].id);
}
