//! Claims in long queues, for workers that are not capable of most jobs.

use std::time::Duration;

use glimpse_shared::{
    id::JobId,
    job::{Class, Job, Release},
    needs::{Capabilities, Needs},
    store::{Claim, Clock, Lease, Rules, Store, memory::MemoryStore},
};
use glimpse_test_support::{
    RedisServer,
    jobs::{START, app, job, plain_claim, worker},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::helpers::{calls, job_key, key, number, small, store, store_with};

#[tokio::test]
async fn a_claim_looks_through_the_whole_queue() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let large = |n: usize| Job { needs: Needs::new(1 << 20, []), ..job(&format!("large {n}")) };
    for n in 0..350 {
        store.submit(&large(n)).await.unwrap();
    }
    let beyond = job("small");
    store.submit(&beyond).await.unwrap();
    for n in 350..450 {
        store.submit(&large(n)).await.unwrap();
    }
    assert_eq!(store.try_claim(&small(1)).await.unwrap().unwrap().job, beyond);
    assert_eq!(store.try_claim(&small(2)).await.unwrap(), None);
    assert_eq!(number(&server, &["ZCARD", &key("queue:glimpse/demo")]), 450);
}

/// The claims of [`a_long_queue_is_searched_as_in_the_transition`] in one store.
async fn long_queue(store: &dyn Store, clock: &Clock) -> Vec<Option<JobId>> {
    let mut chance = SmallRng::seed_from_u64(12);
    let mut taken = Vec::new();
    let mut leases = Vec::new();
    let mut number = 0;
    for n in 0..1500 {
        let id = JobId::from_parts(&app(), 1, n);
        // Large jobs of both classes fill the queue; small jobs come between and behind them.
        let pixels = if n < 400 || chance.random_bool(0.2) { 1 << 20 } else { 64 };
        let class = if chance.random_bool(0.5) { Class::Low } else { Class::Normal };
        let new = Job { id, class, needs: Needs::new(pixels, []), ..job(&format!("job {n}")) };
        match chance.random_range(0..5) {
            _ if n < 400 => drop(store.submit(&new).await.unwrap()),
            0 => drop(store.submit(&new).await.unwrap()),
            1 if !leases.is_empty() => {
                let lease: Lease = leases.swap_remove(chance.random_range(0..leases.len()));
                store.release(&lease, &Release::Drain).await.unwrap();
            }
            _ => {
                number += 1;
                let large = chance.random_bool(0.1);
                let capabilities = Capabilities::new(if large { 1 << 20 } else { 64 }, []);
                let claim = Claim { capabilities, ..plain_claim(worker(&format!("w{number}")), 1) };
                let lease = store.try_claim(&claim).await.unwrap();
                taken.push(lease.as_ref().map(|lease| lease.job.id));
                leases.extend(lease);
            }
        }
        clock.advance(Duration::from_millis(chance.random_range(0..40)));
    }
    taken
}

#[tokio::test]
async fn a_long_queue_is_searched_as_in_the_transition() {
    let server = RedisServer::start_with(&[]);
    let rules = Rules { lease: Duration::from_secs(3600), ..Rules::default() };
    let clock = Clock::manual(START);
    let expected = long_queue(&MemoryStore::new(rules.clone(), clock.clone()), &clock).await;
    assert!(expected.iter().flatten().count() > 200 && expected.contains(&None));
    let clock = Clock::manual(START);
    let store = store_with(&server.url(), rules, clock.clone());
    let before = calls(&server, "hmget");
    assert_eq!(long_queue(&*store, &clock).await, expected);
    // Without the stored position each of about 600 claims would read 400 jobs.
    let read = calls(&server, "hmget") - before;
    assert!(read < 60_000, "{read} jobs were read");
}

#[tokio::test]
async fn a_job_of_the_previous_release_in_a_long_queue_is_found_within_five_seconds() {
    let server = RedisServer::start_with(&[]);
    let clock = Clock::manual(START);
    let store = store_with(&server.url(), Rules::default(), clock.clone());
    let large = |n: usize| Job { needs: Needs::new(1 << 20, []), ..job(&format!("large {n}")) };
    for n in 0..200 {
        store.submit(&large(n)).await.unwrap();
    }
    // A submit resets the position of the search; a submit of the previous release does not.
    let old = large(200);
    store.submit(&old).await.unwrap();
    assert_eq!(store.try_claim(&small(1)).await.unwrap(), None);
    server.ask(&["HDEL", &job_key(old.id), "needs"]);
    server.ask(&["ZADD", &key("queue:glimpse/demo"), "1", &old.id.to_string()]);
    clock.advance(Duration::from_secs(5));
    assert_eq!(store.try_claim(&small(2)).await.unwrap().map(|lease| lease.job.id), Some(old.id));
}
