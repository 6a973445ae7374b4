//! The corners of single scripts, looked at from Redis' side.

use std::time::Duration;

use glimpse_shared::{
    error::StoreError,
    event::CancelledBy,
    id::Micros,
    job::{Job, Release, Status},
    store::{Cancel, Checkpoint, Claim, Clock, Finish, Hold, Released, Retry, Rules, Store, Submit},
};
use glimpse_test_support::{RedisServer, Reply};

use crate::{
    props::{
        checkpoint_key, claim, eventually, job_key, key, log_key, number, store, store_with, unavailable,
    },
    suite::{START, app, completed, job, preview, worker},
};

#[tokio::test]
async fn a_full_redis_still_finishes_its_work() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    for n in 0..4 {
        store.submit(&job(&format!("job {n}"))).await.unwrap();
    }
    let mut finished = claim(&store, "w1", 1).await;
    let released = claim(&store, "w2", 1).await;
    let cancelled = claim(&store, "w3", 1).await;
    let [older, newer] = ["after step 5", "after step 10"].map(|text| Checkpoint::new(text).unwrap());
    assert_eq!(store.renew(&released, Some(&older)).await.unwrap(), Hold::Held);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);

    unavailable(store.submit(&job("one too many")).await);
    unavailable(
        store.try_claim(&Claim { worker: worker("w4"), app: app(), affinity: None, number: 1 }).await,
    );
    let step = preview(&finished, 0);
    unavailable(store.publish(&mut finished, &step).await);
    // The lease holds on, and the checkpoint from before the new one stays.
    assert_eq!(store.renew(&finished, None).await.unwrap(), Hold::Held);
    assert_eq!(store.renew(&released, Some(&newer)).await.unwrap(), Hold::Held);
    assert_eq!(server.ask(&["GET", &checkpoint_key(released.job.id)]).text(), "after step 5");
    assert_eq!(store.finish(&mut finished, &completed()).await.unwrap(), Finish::Finished);
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
async fn a_look_at_a_job_does_not_fetch_what_is_to_be_made() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = Job { digest: "short".to_owned(), ..job(&"🪁".repeat(10_000)) };
    store.submit(&job).await.unwrap();
    let sent = || {
        let info = server.ask(&["INFO", "stats"]);
        let line = info.text().lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        line.expect("a number of bytes").parse::<u64>().unwrap()
    };
    let before = sent();
    for _ in 0..10 {
        assert_eq!(store.status(job.id).await.unwrap().unwrap().digest, job.digest);
    }
    let each = (sent() - before) / 10;
    assert!(each < 10_000, "{each} bytes");
}

#[tokio::test]
async fn ids_without_a_job_are_dropped_by_claim_and_reap() {
    let server = RedisServer::start_with(&[]);
    let clock = Clock::manual(START);
    let store = store_with(&server.url(), Rules::default(), clock.clone());
    let (gone, there) = (job("gone"), job("there"));
    store.submit(&gone).await.unwrap();
    clock.advance(Duration::from_secs(1));
    store.submit(&there).await.unwrap();
    server.ask(&["DEL", &job_key(gone.id)]);
    assert_eq!(claim(&store, "w1", 1).await.job, there);
    assert_eq!(number(&server, &["ZCARD", &key("queue:glimpse/demo")]), 0);
    assert_eq!(server.ask(&["ZSCORE", &key("due"), &gone.id.to_string()]), Reply::Nil);

    server.ask(&["DEL", &job_key(there.id)]);
    clock.advance(Duration::from_secs(7200));
    let reaped = store.reap(store.now().await.unwrap()).await.unwrap();
    assert_eq!((reaped.ended, reaped.given_back), (vec![], vec![]));
    assert_eq!(number(&server, &["ZCARD", &key("due")]), 0);
    assert_eq!(store.cancel(there.id, CancelledBy::Client).await.unwrap(), Cancel::Unknown);
}

#[tokio::test]
async fn what_was_left_behind_does_not_stop_its_job_from_coming_again() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut lease = claim(&store, "w1", 1).await;
    for step in 0..5 {
        let step = preview(&lease, step);
        store.publish(&mut lease, &step).await.unwrap();
    }
    store.renew(&lease, Checkpoint::new("after step 4").as_ref()).await.unwrap();
    let key = checkpoint_key(job.id);
    let (of_checkpoint, of_job) =
        (number(&server, &["PTTL", &key]), number(&server, &["PTTL", &job_key(job.id)]));
    assert!((0..1000).contains(&(of_checkpoint - of_job)), "{of_checkpoint} and {of_job}");
    // Its log's newest id is 7; the job begins again at 1.
    server.ask(&["DEL", &job_key(job.id)]);
    assert_eq!(store.submit(&job).await.unwrap(), Submit::Submitted { position: 0 });
    assert_eq!(number(&server, &["XLEN", &log_key(job.id)]), 1);
    let lease = claim(&store, "w1", 2).await;
    assert_eq!((lease.attempt, lease.checkpoint), (1, None));
}

#[tokio::test]
async fn what_ended_expires_and_what_is_dead_stays_longer() {
    let server = RedisServer::start_with(&[]);
    let rules = Rules { attempts: 1, dead_kept: 2, ..Rules::default() };
    let store = store_with(&server.url(), rules.clone(), Clock::Store);
    let done = job("done");
    store.submit(&done).await.unwrap();
    let waiting = Duration::from_millis(number(&server, &["PTTL", &job_key(done.id)]) as u64);
    assert!(waiting > done.start_timeout + done.run_timeout, "{waiting:?}");
    let mut lease = claim(&store, "w1", 1).await;
    store.finish(&mut lease, &completed()).await.unwrap();
    for key in [job_key(done.id), log_key(done.id)] {
        let ttl = Duration::from_millis(number(&server, &["PTTL", &key]) as u64);
        assert!(ttl <= rules.ended_ttl && ttl > rules.ended_ttl / 2, "{key} lives for {ttl:?}");
    }

    let dead: Vec<_> = (0..3).map(|n| job(&format!("poison {n}"))).collect();
    for (job, number) in dead.iter().zip(2..) {
        store.submit(job).await.unwrap();
        let lease = claim(&store, "w1", number).await;
        store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    }
    let listed = server.ask(&["ZRANGE", &key("dead"), "0", "-1"]);
    assert_eq!(listed.texts(), [dead[1].id.to_string(), dead[2].id.to_string()]);
    let ttl = Duration::from_millis(number(&server, &["PTTL", &job_key(dead[2].id)]) as u64);
    assert!(ttl > rules.dead_ttl / 2, "{ttl:?}");
    // Its hash expires before its place on the list, or comes again: neither is what was given up on.
    server.ask(&["DEL", &job_key(dead[1].id)]);
    assert_eq!(store.dead(None).await.unwrap().iter().map(|dead| dead.id).collect::<Vec<_>>(), [dead[2].id]);
    assert_eq!(store.submit(&dead[1]).await.unwrap(), Submit::Submitted { position: 0 });
    let mut lease = claim(&store, "w1", 9).await;
    store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(store.dead(None).await.unwrap().len(), 1);
    assert_eq!(store.retry(dead[1].id).await.unwrap(), Retry::Unknown);
    store.forget(dead[1].id).await.unwrap();
    store.forget(dead[2].id).await.unwrap();
    assert_eq!(number(&server, &["ZCARD", &key("dead")]), 0);
}

#[tokio::test]
async fn times_are_exact_to_the_microsecond() {
    let server = RedisServer::start_with(&[]);
    // The last microsecond that scores hold exactly, for the highest class in use.
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
    // Each lease ends on its own microsecond.
    for (step, given_back) in [(14_999_998, vec![]), (1, vec![first.id]), (1, vec![second.id])] {
        clock.advance(Duration::from_micros(step));
        let reaped = store.reap(store.now().await.unwrap()).await.unwrap();
        assert_eq!(reaped.given_back, given_back);
    }
    assert_eq!(store.now().await.unwrap(), Micros(start.0 + 15_000_002));
}

#[tokio::test]
async fn a_token_taken_for_somebody_who_has_gone_is_passed_on() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let app = app();
    let gone = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for_work(&"glimpse/demo".parse().unwrap()).await }
    });
    eventually("somebody to block", || server.ask(&["INFO", "clients"]).text().contains("blocked_clients:1"))
        .await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    store.submit(&job("a heart")).await.unwrap();
    eventually("the token to come back", || {
        let back = server.ask(&["LLEN", &key("wake:glimpse/demo")]) == Reply::Number(1);
        back && server.ask(&["INFO", "clients"]).text().contains("blocked_clients:0")
    })
    .await;
    store.wait_for_work(&app).await.unwrap();
    store.wake(&app).await.unwrap();
    store.wake(&app).await.unwrap();
    assert_eq!(number(&server, &["LLEN", &key("wake:glimpse/demo")]), 1);
}

#[tokio::test]
async fn what_no_version_wrote_is_corrupt() {
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
    let Err(StoreError::Corrupt(why)) = store.key_secret().await else { panic!("no secret of ours is read") };
    assert_eq!(why, "glimpse:secret is no secret of this program");
}

#[tokio::test]
async fn the_secret_of_a_fleet_is_made_once_for_all_of_its_processes() {
    let server = RedisServer::start_with(&[]);
    let stores: Vec<_> = (0..4).map(|_| store(&server.url())).collect();
    let secrets = futures::future::join_all(stores.iter().map(|store| store.key_secret())).await;
    let first = secrets[0].clone().unwrap();
    assert!(secrets.into_iter().all(|secret| secret.unwrap() == first));
    server.ask(&["FLUSHALL"]);
    let next = stores[0].key_secret().await.unwrap();
    assert_ne!(next, first);
    assert_eq!(stores[1].key_secret().await.unwrap(), next, "nobody remembers the one that is gone");
}

#[tokio::test]
async fn an_id_of_another_app_is_no_job() {
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
