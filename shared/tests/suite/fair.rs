//! Fairness between tenants.

use glimpse_shared::{
    id::JobId,
    job::{Class, Job, Release},
    weight::Weight,
};

use super::{Fixture, job};

/// A job of a tenant with a weight. All jobs have the same size.
fn job_of_tenant(tenant: &str, weight: f64) -> Job {
    Job {
        tenant: tenant.to_owned(),
        weight: Weight::try_from(weight).unwrap(),
        ..job(&format!("a heart for {tenant}"))
    }
}

/// Submits jobs and returns their ids.
async fn submit(fixture: &Fixture, tenant: &str, weight: f64, count: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let job = job_of_tenant(tenant, weight);
        fixture.submit(&job).await;
        ids.push(job.id);
    }
    ids
}

/// The tenants of the next jobs, in alphabetical order.
async fn served(fixture: &Fixture, count: usize) -> String {
    let mut tenants = Vec::new();
    for _ in 0..count {
        tenants.push(fixture.claim("w1").await.job.tenant);
    }
    tenants.sort();
    tenants.concat()
}

pub async fn many_jobs_of_one_tenant_do_not_delay_another(fixture: &Fixture) {
    let many = submit(fixture, "a", 1.0, 4).await;
    assert_eq!(fixture.claim("w1").await.job.id, many[0]);
    // Where the second tenant begins: with the job that was claimed last, so before all that wait.
    let late = submit(fixture, "b", 1.0, 2).await;
    let position = async |id| fixture.store.status(id).await.unwrap().unwrap().position;
    assert_eq!(position(late[0]).await, Some(0));
    assert_eq!(position(many[3]).await, Some(4));
    assert_eq!(fixture.claim("w1").await.job.id, late[0]);
    // Both have the same share from now on.
    assert_eq!(served(fixture, 2).await, "ab");
    assert_eq!(served(fixture, 2).await, "aa");
}

pub async fn twice_the_weight_is_twice_the_share(fixture: &Fixture) {
    submit(fixture, "a", 1.0, 5).await;
    submit(fixture, "b", 2.0, 10).await;
    // Starts of a: 0, 1, 2, …; of b: 0, 1/2, 1, …
    for _ in 0..4 {
        assert_eq!(served(fixture, 3).await, "abb");
    }
}

pub async fn an_idle_tenant_saves_nothing_up(fixture: &Fixture) {
    submit(fixture, "a", 1.0, 8).await;
    assert_eq!(served(fixture, 5).await, "aaaaa");
    submit(fixture, "b", 1.0, 8).await;
    assert_eq!(served(fixture, 1).await, "b");
    assert_eq!(served(fixture, 4).await, "aabb");
    // And the use of an idle fleet is not a debt.
    while fixture.store.waiting(&super::app()).await.unwrap().jobs > 0 {
        served(fixture, 1).await;
    }
    submit(fixture, "a", 1.0, 2).await;
    submit(fixture, "b", 1.0, 2).await;
    assert_eq!(served(fixture, 2).await, "ab");
}

pub async fn one_tenants_jobs_keep_their_order(fixture: &Fixture) {
    let mut ids = Vec::new();
    for weight in [1.0, 100.0, 0.5, 1.0] {
        ids.extend(submit(fixture, "a", weight, 1).await);
    }
    let first = fixture.claim("w1").await;
    assert_eq!(first.job.id, ids[0]);
    // A job that is given back has its old place, also before jobs that came to an empty queue.
    for id in &ids[1..] {
        assert_eq!(fixture.claim("w2").await.job.id, *id);
    }
    let later = submit(fixture, "a", 1.0, 1).await;
    fixture.store.release(&first, &Release::Drain).await.unwrap();
    assert_eq!(fixture.claim("w3").await.job.id, ids[0]);
    assert_eq!(fixture.claim("w3").await.job.id, later[0]);
}

pub async fn a_class_comes_before_a_share(fixture: &Fixture) {
    let low = Job { class: Class::Low, ..job_of_tenant("b", 1_000.0) };
    fixture.submit(&low).await;
    let normal = submit(fixture, "a", 0.001, 3).await;
    for id in normal {
        assert_eq!(fixture.claim("w1").await.job.id, id);
    }
    // Each class has its own virtual time: the low job was no use of the normal class.
    submit(fixture, "a", 1.0, 2).await;
    submit(fixture, "b", 1.0, 2).await;
    assert_eq!(served(fixture, 2).await, "ab");
    assert_eq!(served(fixture, 3).await, "abb");
}
