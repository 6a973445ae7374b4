//! Affinity: jobs go to workers that have loaded what they need, with a limit on the wait of other jobs.

use glimpse_shared::{
    job::{Job, Release},
    store::{Claim, Lease},
};

use super::{Fixture, job, plain_claim, worker};

/// Submits jobs with these affinities.
async fn submit(fixture: &Fixture, needs: &[Option<&str>]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (n, affinity) in needs.iter().enumerate() {
        let job = Job { affinity: affinity.map(str::to_owned), ..job(&format!("job {n}")) };
        fixture.submit(&job).await;
        fixture.pass(1);
        jobs.push(job);
    }
    jobs
}

/// A claim of the `n`th worker, which has this loaded.
async fn claim(fixture: &Fixture, n: u64, loaded: Option<&str>) -> Lease {
    let affinity = loaded.map(str::to_owned);
    let claim = Claim { affinity, ..plain_claim(worker(&format!("w{n}")), 1) };
    fixture.store.try_claim(&claim).await.unwrap().expect("a job to claim")
}

pub async fn a_worker_gets_what_it_has_loaded(fixture: &Fixture) {
    let (a, b, c) = (Some("a1"), Some("b2"), Some("c3"));
    let jobs = submit(fixture, &[None, a, b, a, None]).await;
    for (number, (loaded, expected)) in (1..).zip([(a, 1), (a, 3), (None, 0), (c, 2), (b, 4)]) {
        assert_eq!(claim(fixture, number, loaded).await.job, jobs[expected], "claim {number}");
    }
}

pub async fn a_worker_chooses_from_the_first_few(fixture: &Fixture) {
    let reach = fixture.rules.affinity_reach;
    let mut needs = vec![None; reach];
    needs.push(Some("a1"));
    let jobs = submit(fixture, &needs).await;
    // The suitable job is one place too far behind at first.
    assert_eq!(claim(fixture, 1, Some("a1")).await.job.id, jobs[0].id);
    assert_eq!(claim(fixture, 2, Some("a1")).await.job.id, jobs[reach].id);
}

pub async fn no_head_is_passed_over_for_ever(fixture: &Fixture) {
    let max_passed = fixture.rules.passed_over as usize;
    let mut needs = vec![None, None];
    needs.resize(2 + 2 * max_passed, Some("a1"));
    let jobs = submit(fixture, &needs).await;
    let mut suitable = jobs[2..].iter();
    let mut workers = 0..;
    for head in &jobs[..2] {
        for job in suitable.by_ref().take(max_passed) {
            let lease = claim(fixture, workers.next().unwrap(), Some("a1")).await;
            assert_eq!(lease.job.id, job.id);
        }
        let lease = claim(fixture, workers.next().unwrap(), Some("a1")).await;
        assert_eq!(lease.job.id, head.id);
        // After a requeue the head still counts as passed over.
        fixture.store.release(&lease, &Release::Drain).await.unwrap();
        assert_eq!(claim(fixture, workers.next().unwrap(), Some("a1")).await.job.id, head.id);
    }
    assert_eq!(fixture.try_claim(&worker("last"), 1).await, None);
}
