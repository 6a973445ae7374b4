//! Lists of a tenant's jobs, and reads of an app's queue.

use std::time::Duration;

use glimpse_shared::{
    event::CancelledBy,
    id::{App, JobId},
    job::{ANONYMOUS, Class, Job, Status},
    store::{ListedJob, Listing, Waiting},
};

use super::{Fixture, START, app, completed, job, job_of};

fn listing(tenant: &str) -> Listing {
    Listing { tenant: tenant.to_owned(), status: None, before: None, limit: 100 }
}

async fn ids(fixture: &Fixture, listing: &Listing) -> Option<Vec<JobId>> {
    let jobs = fixture.store.jobs(listing).await.unwrap()?;
    Some(jobs.iter().map(|job| job.id).collect())
}

/// Submits a job of each app, one second after the other.
async fn submit(fixture: &Fixture, apps: &[&App], tenant: &str) -> Vec<JobId> {
    let mut ids = Vec::new();
    for (n, app) in apps.iter().enumerate() {
        let job = Job { tenant: tenant.to_owned(), ..job_of(app, &format!("heart {n}")) };
        fixture.submit(&job).await;
        fixture.pass(1);
        ids.push(job.id);
    }
    ids
}

pub async fn a_tenant_sees_its_own_jobs_newest_first(fixture: &Fixture) {
    let (demo, other) = (app(), "glimpse/other".parse().unwrap());
    let [a, b, c] = submit(fixture, &[&demo, &other, &demo], ANONYMOUS).await.try_into().unwrap();
    let theirs = submit(fixture, &[&demo], "somebody").await;
    fixture.store.cancel(b, CancelledBy::Client).await.unwrap();

    assert_eq!(ids(fixture, &listing(ANONYMOUS)).await.unwrap(), [c, b, a]);
    assert_eq!(ids(fixture, &listing("somebody")).await.unwrap(), theirs);
    assert_eq!(ids(fixture, &listing("nobody")).await.unwrap(), []);
    let cancelled = Listing { status: Some(Status::Cancelled), ..listing(ANONYMOUS) };
    let created_at = START.after(Duration::from_secs(1));
    let expected = ListedJob { id: b, app: other, status: Status::Cancelled, created_at };
    assert_eq!(fixture.store.jobs(&cancelled).await.unwrap().unwrap(), [expected]);
    let queued = Listing { status: Some(Status::Queued), ..listing(ANONYMOUS) };
    assert_eq!(ids(fixture, &queued).await.unwrap(), [c, a]);
    assert_eq!(fixture.store.status(a).await.unwrap().unwrap().tenant, ANONYMOUS);
    assert_eq!(fixture.store.status(theirs[0]).await.unwrap().unwrap().tenant, "somebody");
}

pub async fn a_list_goes_on_after_its_last_job(fixture: &Fixture) {
    let (demo, other) = (app(), "glimpse/other".parse().unwrap());
    let mut all = submit(fixture, &[&demo, &demo, &other, &demo, &other], ANONYMOUS).await;
    // Jobs of one microsecond are ordered by their ids.
    let mut together: Vec<_> = (0..3).map(|n| job(&format!("at once {n}"))).collect();
    together.sort_by_key(|job| job.id);
    for job in &together {
        fixture.submit(job).await;
    }
    all.extend(together.iter().map(|job| job.id));
    all.reverse();
    for limit in [1, 2, 3, 8] {
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = ids(fixture, &Listing { before, limit, ..listing(ANONYMOUS) }).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= limit);
            before = Some(*last);
            seen.extend(page);
        }
        assert_eq!(seen, all, "pages of {limit}");
    }
    let unknown = Listing { before: Some(JobId::new(&demo)), ..listing(ANONYMOUS) };
    assert_eq!(ids(fixture, &unknown).await, None);
    let of_another = Listing { before: Some(all[0]), ..listing("somebody") };
    assert_eq!(ids(fixture, &of_another).await, None);
}

pub async fn only_the_newest_jobs_are_listed(fixture: &Fixture) {
    let apps = vec![app(); fixture.rules.listed + 2];
    let all = submit(fixture, &apps.iter().collect::<Vec<_>>(), ANONYMOUS).await;
    let newest: Vec<_> = all.iter().rev().take(fixture.rules.listed).copied().collect();
    assert_eq!(ids(fixture, &listing(ANONYMOUS)).await.unwrap(), newest);
}

pub async fn a_forgotten_job_is_not_listed(fixture: &Fixture) {
    let demo = app();
    let [a, b] = submit(fixture, &[&demo, &demo], ANONYMOUS).await.try_into().unwrap();
    fixture.store.cancel(a, CancelledBy::Client).await.unwrap();
    fixture.store.forget(a).await.unwrap();
    // A job that has not ended stays.
    fixture.store.forget(b).await.unwrap();
    assert_eq!(ids(fixture, &listing(ANONYMOUS)).await.unwrap(), [b]);
}

pub async fn positions_are_those_of_the_queue(fixture: &Fixture) {
    let demo = app();
    let mut all = submit(fixture, &[&demo, &demo, &demo], ANONYMOUS).await;
    let positions = async |all: &[JobId]| fixture.store.positions(&demo, all).await.unwrap();
    assert_eq!(positions(&all).await, [Some(0), Some(1), Some(2)]);
    fixture.claim("w1").await;
    all.push(JobId::new(&demo));
    assert_eq!(positions(&all).await, [None, Some(0), Some(1), None]);
    assert_eq!(positions(&[]).await, []);
    let other = "glimpse/other".parse().unwrap();
    assert_eq!(fixture.store.positions(&other, &all).await.unwrap(), [None; 4]);
}

pub async fn a_queue_has_a_length_and_a_pace(fixture: &Fixture) {
    let demo = app();
    let waiting = async || fixture.store.waiting(&demo).await.unwrap();
    assert_eq!(waiting().await, Waiting { jobs: 0, pace: None, oldest: None });
    submit(fixture, &[&demo, &demo], ANONYMOUS).await;
    let mut lease = fixture.claim("w1").await;
    fixture.pass(4);
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    let (pace, oldest) = (Duration::from_secs(4), Duration::from_secs(5));
    assert_eq!(waiting().await, Waiting { jobs: 1, pace: Some(pace), oldest: Some(oldest) });
    fixture.clock.advance(fixture.rules.pace_ttl);
    let oldest = Some(oldest + fixture.rules.pace_ttl);
    assert_eq!(waiting().await, Waiting { jobs: 1, pace: None, oldest });
}

pub async fn the_oldest_job_of_a_queue_may_be_of_any_class(fixture: &Fixture) {
    let demo = app();
    let low = Job { class: Class::Low, ..job("low") };
    fixture.submit(&low).await;
    fixture.pass(5);
    fixture.submit(&job("normal")).await;
    fixture.pass(2);
    let oldest = async || fixture.store.waiting(&demo).await.unwrap().oldest;
    assert_eq!(oldest().await, Some(Duration::from_secs(7)));
    fixture.store.cancel(low.id, CancelledBy::Client).await.unwrap();
    assert_eq!(oldest().await, Some(Duration::from_secs(2)));
}
