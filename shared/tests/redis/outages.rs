//! Redis is killed, frozen, started late and restarted: nothing hangs, and no accepted job is lost.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use glimpse_shared::{
    event::{CancelledBy, Event, Followed},
    job::Status,
    store::{Clock, Finish, Hold, Rules, Store},
};
use glimpse_test_support::{
    RedisServer,
    jobs::{app, completed, job, plain, plain_claim, preview, worker},
};
use tokio::time::Instant;

use crate::{
    helpers::{answered, claim, eventually, store, store_with, unavailable},
    streams::{cursor, frame, next, over},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_followed_through() {
    let mut server = RedisServer::start();
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut lease = claim(&store, "w1", 1).await;
    let mut streams: Vec<_> = (0..20).map(|_| store.follow(job.id, cursor(1))).collect();
    for stream in &mut streams {
        assert_eq!(frame(next(stream).await).0, 2);
    }
    for round in 0..3 {
        server.kill();
        let unsaid = preview(&lease, round);
        unavailable(store.publish(&mut lease, &unsaid).await);
        server.restart();
        // The first events after a restart usually come before the followers have reconnected.
        for step in [2 * round, 2 * round + 1] {
            let preview = preview(&lease, step);
            let mut mine = lease.clone();
            let hold = answered(|| {
                let (store, preview, mut lease) = (store.clone(), preview.clone(), mine.clone());
                async move { store.publish(&mut lease, &preview).await.map(|hold| (hold, lease)) }
            })
            .await;
            assert_eq!(hold.0, Hold::Held);
            mine = hold.1;
            lease = mine;
        }
        for stream in &mut streams {
            assert_eq!(frame(next(stream).await).0, u64::from(2 * round) + 3);
            assert_eq!(frame(next(stream).await).0, u64::from(2 * round) + 4);
        }
    }
    server.kill();
    unavailable(store.finish(&mut lease, &completed()).await);
    server.restart();
    let finish = answered(|| {
        let (store, mut lease) = (store.clone(), lease.clone());
        async move { store.finish(&mut lease, &completed()).await }
    });
    assert_eq!(finish.await, Finish::Finished);
    for stream in &mut streams {
        assert_eq!(frame(next(stream).await).0, 9);
        over(stream).await;
    }
}

#[tokio::test]
async fn a_cut_connection_is_replaced() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut stream = store.follow(job.id, None);
    assert_eq!(frame(next(&mut stream).await).0, 1);
    for _ in 0..5 {
        server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
    answered(|| store.cancel(job.id, CancelledBy::Client)).await;
    assert_eq!(frame(next(&mut stream).await), (2, Event::Cancelled { by: CancelledBy::Client }));
    over(&mut stream).await;
}

#[tokio::test]
async fn a_flush_while_away_is_found_out_on_return() {
    let mut server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut stream = store.follow(job.id, None);
    assert_eq!(frame(next(&mut stream).await).0, 1);
    // Without an append-only file it is empty after a restart.
    server.restart();
    let since = Instant::now();
    assert_eq!(next(&mut stream).await, Followed::Lost);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    over(&mut stream).await;
}

#[tokio::test]
async fn a_store_may_start_before_its_redis() {
    let mut server = RedisServer::start_with(&[]);
    server.kill();
    let store = store(&server.url());
    let job = job("a heart");
    let since = Instant::now();
    unavailable(store.submit(&job).await);
    unavailable(store.now().await);
    unavailable(store.workers().await);
    unavailable(store.wait_for_work(&app(), &plain()).await);
    unavailable(store.reap(Default::default()).await);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let mut cancellations = store.cancellations(&app());
    let mut stream = store.follow(job.id, None);
    let following = tokio::spawn(async move { (next(&mut stream).await, stream) });
    let listening = tokio::spawn(async move { cancellations.next().await });
    server.restart();
    answered(|| store.submit(&job)).await;
    let (first, mut stream) = following.await.unwrap();
    // A follower that reads before the submit gets Lost; an API follows a job after its submit.
    if let Followed::Frame(_) = first {
        assert_eq!(frame(first).0, 1);
        claim(&store, "w1", 1).await;
        eventually("somebody to listen", || server.ask(&["PUBSUB", "SHARDCHANNELS"]).texts().len() == 2)
            .await;
        store.cancel(job.id, CancelledBy::Client).await.unwrap();
        assert_eq!(frame(next(&mut stream).await).0, 2);
        assert_eq!(listening.await.unwrap(), Some(job.id));
    } else {
        assert_eq!(first, Followed::Lost);
        listening.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_answers_unavailable_and_reaps_nothing_late() {
    let server = RedisServer::start_with(&[]);
    let rules = Rules { lease: Duration::from_secs(1), ..Rules::default() };
    let store = store_with(&server.url(), rules, Clock::Store);
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let lease = claim(&store, "w1", 1).await;
    let seen = store.now().await.unwrap();

    server.pause();
    let since = Instant::now();
    let (renewed, reaped, state) =
        tokio::join!(store.renew(&lease, None), store.reap(seen), store.status(job.id));
    unavailable(renewed);
    unavailable(reaped);
    unavailable(state);
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    server.resume();

    // The lease expired while Redis was frozen. The reap that waited in its socket was too late to act.
    assert_eq!(answered(|| store.renew(&lease, None)).await, Hold::Held);
    let state = store.status(job.id).await.unwrap().unwrap();
    assert_eq!((state.status, state.attempt), (Status::Running, 1));
    let reaped = store.reap(seen).await.unwrap();
    assert_eq!((reaped.ended, reaped.given_back), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_worker_survives_a_restart() {
    let mut server = RedisServer::start();
    let store = store(&server.url());
    let worker = tokio::spawn({
        let store: Arc<_> = store.clone();
        async move {
            loop {
                let claim = plain_claim(worker("w1"), 1);
                if let Some(lease) = answered(|| store.try_claim(&claim)).await {
                    return lease.job.id;
                }
                answered(|| store.wait_for_work(&claim.app, &claim.capabilities)).await;
            }
        }
    });
    let blocked =
        |server: &RedisServer| server.ask(&["INFO", "clients"]).text().contains("blocked_clients:1");
    eventually("the worker to block", || blocked(&server)).await;
    server.restart();
    eventually("the worker to block again", || blocked(&server)).await;
    let job = job("a heart");
    answered(|| store.submit(&job)).await;
    assert_eq!(worker.await.unwrap(), job.id);
}
