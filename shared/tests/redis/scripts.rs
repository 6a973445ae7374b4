//! Tests of single scripts, checked in Redis itself.

use std::{num::NonZeroU32, time::Duration};

use glimpse_shared::{
    error::StoreError,
    event::CancelledBy,
    id::Micros,
    job::{Job, Release, Status},
    needs::Needs,
    store::{Cancel, Checkpoint, Clock, Finish, Hold, Quota, Released, Rules, Store, Submit},
    webhook::{Report, Webhook, WebhookForm},
};
use glimpse_test_support::{
    RedisServer, Reply,
    jobs::{app, completed, job, plain, plain_claim, preview, worker},
};

use crate::helpers::{
    checkpoint_key, claim, eventually, job_key, key, number, small, store, store_with, unavailable,
};

#[tokio::test]
async fn a_full_redis_still_finishes_its_work() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    for n in 0..4 {
        let webhook = Webhook {
            url: "https://example.com".to_owned(),
            form: WebhookForm::Fal,
            origin: "http://127.0.0.1:8080".to_owned(),
        };
        let webhook = (n == 0).then_some(webhook);
        store.submit(&Job { webhook, ..job(&format!("job {n}")) }).await.unwrap();
    }
    let mut finished = claim(&store, "w1", 1).await;
    let released = claim(&store, "w2", 1).await;
    let cancelled = claim(&store, "w3", 1).await;
    let [older, newer] = ["after step 5", "after step 10"].map(|text| Checkpoint::new(text).unwrap());
    assert_eq!(store.renew(&released, Some(&older)).await.unwrap(), Hold::Held);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);

    unavailable(store.submit(&job("one too many")).await);
    unavailable(store.try_claim(&plain_claim(worker("w4"), 1)).await);
    let step = preview(&finished, 0);
    // A preview is not written.
    assert_eq!(store.publish(&mut finished, &step).await.unwrap(), Hold::Held);
    // The lease is renewed, and the old checkpoint stays.
    assert_eq!(store.renew(&finished, None).await.unwrap(), Hold::Held);
    assert_eq!(store.renew(&released, Some(&newer)).await.unwrap(), Hold::Held);
    assert_eq!(server.ask(&["GET", &checkpoint_key(released.job.id)]).text(), "after step 5");
    assert_eq!(store.finish(&mut finished, &completed()).await.unwrap(), Finish::Finished);
    let delivery = store.take_deliveries().await.unwrap().remove(0);
    for report in [Report::Failed, Report::Acknowledged] {
        store.settle_delivery(delivery.job, delivery.number, report).await.unwrap();
    }
    assert_eq!(store.release(&released, &Release::Drain).await.unwrap(), Released::Released);
    assert_eq!(store.cancel(cancelled.job.id, CancelledBy::Client).await.unwrap(), Cancel::Cancelled);
    let reaped = store.reap(store.now().await.unwrap()).await.unwrap();
    assert_eq!((reaped.ended.len(), reaped.given_back.len()), (0, 0));
    assert_eq!(store.status(finished.job.id).await.unwrap().unwrap().status, Status::Completed);
}

#[tokio::test]
async fn flushed_scripts_are_sent_again() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    server.ask(&["SCRIPT", "FLUSH"]);
    let mut lease = claim(&store, "w1", 1).await;
    server.ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(store.finish(&mut lease, &completed()).await.unwrap(), Finish::Finished);
    server.ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(store.status(job.id).await.unwrap().unwrap().status, Status::Completed);
}

#[tokio::test]
async fn times_are_exact_to_the_microsecond() {
    let server = RedisServer::start_with(&[]);
    // The last microseconds that a score holds exactly, for the highest class in use.
    let start = Micros((1 << 51) - 7_200_000_001);
    let clock = Clock::manual(start);
    let store = store_with(&server.url(), Rules::default(), clock.clone());
    let (first, second) = (job("first"), job("second"));
    store.submit(&first).await.unwrap();
    clock.advance(Duration::from_micros(1));
    store.submit(&second).await.unwrap();
    assert_eq!(store.status(second.id).await.unwrap().unwrap().created_at, Micros(start.0 + 1));
    assert_eq!(claim(&store, "w1", 1).await.job.id, first.id);
    clock.advance(Duration::from_micros(1));
    assert_eq!(claim(&store, "w2", 1).await.job.id, second.id);
    // Each lease expires at its own microsecond.
    for (step, given_back) in [(14_999_998, vec![]), (1, vec![first.id]), (1, vec![second.id])] {
        clock.advance(Duration::from_micros(step));
        let reaped = store.reap(store.now().await.unwrap()).await.unwrap();
        assert_eq!(reaped.given_back, given_back);
    }
    assert_eq!(store.now().await.unwrap(), Micros(start.0 + 15_000_002));
}

#[tokio::test]
async fn a_wake_up_of_a_cancelled_wait_is_passed_on() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let gone = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for_work(&app(), &plain()).await }
    });
    eventually("a worker to block", || server.ask(&["INFO", "clients"]).text().contains("blocked_clients:1"))
        .await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    store.submit(&job("a heart")).await.unwrap();
    eventually("the token to come back", || {
        let back = server.ask(&["LLEN", &key("wake:glimpse/demo")]) == Reply::Number(1);
        back && server.ask(&["INFO", "clients"]).text().contains("blocked_clients:0")
    })
    .await;
    store.wait_for_work(&app(), &plain()).await.unwrap();
    store.wake(&app(), &plain()).await.unwrap();
    store.wake(&app(), &plain()).await.unwrap();
    assert_eq!(number(&server, &["LLEN", &key("wake:glimpse/demo")]), 1);
}

#[tokio::test]
async fn unreadable_data_is_reported_as_corrupt() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    server.ask(&["HSET", &job_key(job.id), "status", "confused"]);
    assert!(matches!(store.status(job.id).await, Err(StoreError::Corrupt(_))));
    server.ask(&["DEL", &job_key(job.id)]);
    server.ask(&["SET", &job_key(job.id), "not a hash"]);
    assert!(matches!(store.submit(&job).await, Err(StoreError::Corrupt(_))));
    server.ask(&["HSET", "glimpse:workers", "w1", "1 {}"]);
    assert_eq!(store.workers().await.unwrap(), []);
    server.ask(&["SET", "glimpse:secret", "swordfish"]);
    let Err(StoreError::Corrupt(why)) = store.key_secret().await else {
        panic!("an invalid secret was accepted")
    };
    assert_eq!(why, "glimpse:secret does not hold a secret of this program");
}

#[tokio::test]
async fn all_processes_of_a_fleet_get_the_same_secret() {
    let server = RedisServer::start_with(&[]);
    let stores: Vec<_> = (0..4).map(|_| store(&server.url())).collect();
    let secrets = futures::future::join_all(stores.iter().map(|store| store.key_secret())).await;
    let first = secrets[0].clone().unwrap();
    assert!(secrets.into_iter().all(|secret| secret.unwrap() == first));
    server.ask(&["FLUSHALL"]);
    let next = stores[0].key_secret().await.unwrap();
    assert_ne!(next, first);
    assert_eq!(stores[1].key_secret().await.unwrap(), next, "a process kept the old secret");
}

#[tokio::test]
async fn an_id_of_another_partition_is_rejected() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let mut strange = job("a heart");
    strange.app = "glimpse/other".parse().unwrap();
    assert_ne!(strange.app.partition(), app().partition());
    assert!(matches!(store.submit(&strange).await, Err(StoreError::Corrupt(_))));
    let foreign = "00000000-0000-7000-8000-0000000000ff".parse().unwrap();
    assert_eq!(store.status(foreign).await.unwrap(), None);
    assert_eq!(store.cancel(foreign, CancelledBy::Client).await.unwrap(), Cancel::Unknown);
}

#[tokio::test]
async fn jobs_and_wake_ups_of_the_previous_release_work() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    // The previous release writes no needs, and puts its token on the list for any worker.
    let old = Job { needs: Needs::new(1 << 20, []), ..job("old") };
    store.submit(&old).await.unwrap();
    server.ask(&["HDEL", &job_key(old.id), "needs"]);
    assert_eq!(store.status(old.id).await.unwrap().unwrap().needs, Needs::default());
    let claim = small(1);
    store.wait_for_work(&claim.app, &claim.capabilities).await.unwrap();
    assert_eq!(store.try_claim(&claim).await.unwrap().unwrap().job.id, old.id);

    let waits = tokio::spawn({
        let store = store.clone();
        async move {
            assert_eq!(store.try_claim(&small(2)).await.unwrap(), None);
            let since = std::time::Instant::now();
            store.wait_for_work(&app(), &small(2).capabilities).await.unwrap();
            since.elapsed()
        }
    });
    eventually("a worker to block", || server.ask(&["INFO", "clients"]).text().contains("blocked_clients:1"))
        .await;
    server.ask(&["RPUSH", &key("wake:glimpse/demo"), "1"]);
    assert!(waits.await.unwrap() < Duration::from_secs(4));

    // A worker of the previous release blocks on the list for any worker. It is woken if no capable worker is known.
    server.ask(&["DEL", &key("looking:glimpse/demo")]);
    store.submit(&job("new")).await.unwrap();
    assert_eq!(number(&server, &["LLEN", &key("wake:glimpse/demo")]), 1);
}

#[tokio::test]
async fn a_place_is_given_back_and_that_of_a_job_that_vanished_is_found() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let of = |prompt| Job { tenant: "a team".to_owned(), ..job(prompt) };
    let one = Quota::of_jobs(NonZeroU32::MIN);
    let places = || server.ask(&["ZRANGE", &key("places:a team"), "0", "-1"]);
    let [first, vanished, last] = ["a", "b", "c"].map(of);
    for submitted in [&first, &vanished, &last] {
        let answer = store.submit_within(submitted, one).await.unwrap();
        assert!(matches!(answer, Submit::Submitted { .. }), "{answer:?}");
        assert_eq!(places(), Reply::List(vec![Reply::Text(submitted.id.to_string())]));
        if *submitted == first {
            store.cancel(first.id, CancelledBy::Client).await.unwrap();
            assert_eq!(server.ask(&["EXISTS", &key("places:a team")]), Reply::Number(0));
        }
        if *submitted == vanished {
            // As its expiry does.
            server.ask(&["DEL", &job_key(vanished.id)]);
        }
    }
}
