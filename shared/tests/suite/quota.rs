//! How many unfinished jobs a tenant may have.

use std::{num::NonZeroU32, time::Duration};

use glimpse_shared::{
    event::{CancelledBy, FailureCode},
    job::{ANONYMOUS, Job, Release},
    store::{Ending, Quota, Submit},
};

use super::{Fixture, app, completed, job, job_of};

fn at_most(jobs: u32) -> Quota {
    Quota::of_jobs(NonZeroU32::new(jobs).unwrap())
}

fn of(tenant: &str, prompt: &str) -> Job {
    Job { tenant: tenant.to_owned(), ..job(prompt) }
}

const CROWDED: Submit = Submit::Crowded { unfinished: 2, pace: None };

/// Submits a job of a tenant that may have two.
async fn submit(fixture: &Fixture, job: &Job) -> Submit {
    fixture.store.submit_within(job, at_most(2)).await.unwrap()
}

pub async fn a_tenant_has_no_more_jobs_than_its_quota(fixture: &Fixture) {
    let [a, b, c] = ["a", "b", "c"].map(|prompt| of("a team", prompt));
    assert_eq!(submit(fixture, &a).await, Submit::Submitted { position: 0 });
    assert_eq!(submit(fixture, &b).await, Submit::Submitted { position: 1 });
    assert_eq!(submit(fixture, &c).await, CROWDED);
    assert!(fixture.store.status(c.id).await.unwrap().is_none(), "a refused job does not exist");
    // A job that is known is answered as before.
    assert_eq!(submit(fixture, &b).await, Submit::Duplicate);
    assert_eq!(submit(fixture, &Job { digest: "other".to_owned(), ..b.clone() }).await, Submit::Conflict);
    // Others are not concerned, and a running job counts.
    let mut lease = fixture.claim("w1").await;
    assert_eq!(lease.job.id, a.id);
    assert!(matches!(submit(fixture, &of("others", "d")).await, Submit::Submitted { .. }));
    assert_eq!(submit(fixture, &c).await, CROWDED);
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    assert!(matches!(submit(fixture, &c).await, Submit::Submitted { .. }));
    let pace = Some(Duration::ZERO);
    assert_eq!(submit(fixture, &of("a team", "e")).await, Submit::Crowded { unfinished: 2, pace });
    // A quota is what the submit says: a larger one lets the next job in.
    let more = fixture.store.submit_within(&of("a team", "f"), at_most(3)).await.unwrap();
    assert!(matches!(more, Submit::Submitted { .. }));
    assert!(matches!(fixture.store.submit(&of("a team", "g")).await.unwrap(), Submit::Submitted { .. }));
    assert_eq!(submit(fixture, &of("a team", "h")).await, Submit::Crowded { unfinished: 4, pace });
}

/// A job that ends in any way gives its place back, and one that goes back to its queue keeps it.
pub async fn every_way_to_end_gives_the_place_back(fixture: &Fixture) {
    let free = async |what: &str| {
        let probe = of("a team", what);
        let one = fixture.store.submit_within(&probe, at_most(1)).await.unwrap();
        assert!(matches!(one, Submit::Submitted { .. }), "{what}: {one:?}");
        fixture.store.cancel(probe.id, CancelledBy::Client).await.unwrap();
    };
    let held = async |what: &str| {
        let one = fixture.store.submit_within(&of("a team", what), at_most(1)).await.unwrap();
        assert!(matches!(one, Submit::Crowded { unfinished: 1, .. }), "{what}: {one:?}");
    };
    for n in 0..2 {
        fixture.submit(&of("a team", &format!("cancelled {n}"))).await;
    }
    let lease = fixture.claim("w1").await;
    fixture.store.cancel(lease.job.id, CancelledBy::Client).await.unwrap();
    held("one is left").await;
    let waiting = fixture.claim("w1").await;
    fixture.store.cancel(waiting.job.id, CancelledBy::Client).await.unwrap();
    free("cancelled").await;

    fixture.submit(&of("a team", "refused")).await;
    let mut lease = fixture.claim("w1").await;
    let ending = Ending::failed(FailureCode::BadRequest, "no".to_owned());
    fixture.store.finish(&mut lease, &ending).await.unwrap();
    free("failed").await;

    fixture.submit(&of("a team", "dies")).await;
    for _ in 0..fixture.rules.attempts {
        held("before its last attempt").await;
        let lease = fixture.claim("w1").await;
        fixture.store.release(&lease, &Release::Drain).await.unwrap();
        held("drained").await;
        let lease = fixture.claim("w1").await;
        fixture.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    }
    free("dead").await;
    // Its retry takes a place, even if there is none.
    let dead = fixture.store.dead(None).await.unwrap().remove(0).id;
    fixture.store.retry(dead).await.unwrap();
    held("retried").await;
    fixture.store.cancel(dead.retried(), CancelledBy::Client).await.unwrap();

    fixture.submit(&Job { start_timeout: Duration::from_secs(5), ..of("a team", "late") }).await;
    fixture.pass(6);
    held("overdue").await;
    fixture.reap().await;
    free("start timeout").await;

    fixture.submit(&of("a team", "lost")).await;
    for _ in 0..fixture.rules.attempts {
        fixture.claim("w1").await;
        held("running").await;
        fixture.pass(20);
        fixture.reap().await;
    }
    free("its workers were lost").await;
}

/// The apps may be in different partitions.
pub async fn a_quota_is_for_all_apps_together(fixture: &Fixture) {
    let (demo, other) = (app(), "glimpse/other".parse().unwrap());
    assert_ne!(app().partition(), glimpse_shared::id::App::partition(&other));
    let of = |app, prompt| Job { tenant: "a team".to_owned(), ..job_of(app, prompt) };
    assert!(matches!(submit(fixture, &of(&demo, "a")).await, Submit::Submitted { .. }));
    let second = of(&other, "b");
    assert!(matches!(submit(fixture, &second).await, Submit::Submitted { .. }));
    for app in [&demo, &other] {
        assert_eq!(submit(fixture, &of(app, "c")).await, CROWDED);
    }
    fixture.store.cancel(second.id, CancelledBy::Client).await.unwrap();
    assert!(matches!(submit(fixture, &of(&demo, "d")).await, Submit::Submitted { .. }));
}

pub async fn jobs_without_a_key_are_not_counted(fixture: &Fixture) {
    for n in 0..3 {
        assert!(matches!(submit(fixture, &of(ANONYMOUS, &format!("{n}"))).await, Submit::Submitted { .. }));
    }
}
