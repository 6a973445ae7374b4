//! The corners of single scripts, looked at from Redis' side.

use std::time::Duration;

use glimpse_shared::{
    error::StoreError,
    event::{CancelledBy, EventKind, Image},
    id::{JobId, Micros},
    job::{Class, Job, Release, Status, WorkerRecord, WorkerState},
    needs::{Capabilities, Needs},
    store::{
        Cancel, Checkpoint, Claim, Clock, Finish, Hold, Lease, Preview, Released, Retry, Rules, Shown, Store,
        Submit, memory::MemoryStore,
    },
};
use glimpse_test_support::{RedisServer, Reply};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::{
    props::{
        checkpoint_key, claim, eventually, job_key, key, log_key, number, store, store_with, unavailable,
    },
    suite::{START, app, completed, job, plain, plain_claim, preview, worker},
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
    unavailable(store.try_claim(&plain_claim(worker("w4"), 1)).await);
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

/// How many bytes Redis has sent.
fn sent(server: &RedisServer) -> u64 {
    let info = server.ask(&["INFO", "stats"]);
    let line = info.text().lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.expect("a number of bytes").parse().unwrap()
}

#[tokio::test]
async fn a_look_at_a_job_does_not_fetch_what_is_to_be_made() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = Job { digest: "short".to_owned(), ..job(&"🪁".repeat(10_000)) };
    store.submit(&job).await.unwrap();
    let before = sent(&server);
    for _ in 0..10 {
        assert_eq!(store.status(job.id).await.unwrap().unwrap().digest, job.digest);
    }
    let each = (sent(&server) - before) / 10;
    assert!(each < 10_000, "{each} bytes");
}

#[tokio::test]
async fn a_look_at_a_running_job_moves_no_picture() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut lease = claim(&store, "w1", 1).await;
    let large = Image::new("image/jpeg", 1024, 1024, &[7; 150_000]);
    let preview = Preview::new(lease.attempt, 0, 20, large);
    assert_eq!(store.publish(&mut lease, &preview).await.unwrap(), Hold::Held);
    let before = sent(&server);
    for _ in 0..10 {
        assert_eq!(store.status(job.id).await.unwrap().unwrap().step, Some(0));
        let (_, end) = store.status_with(job.id, Shown::End).await.unwrap().unwrap();
        assert_eq!(end, None);
    }
    let each = (sent(&server) - before) / 20;
    assert!(each < 10_000, "{each} bytes");
    let (_, newest) = store.status_with(job.id, Shown::Newest).await.unwrap().unwrap();
    assert_eq!(newest.unwrap().kind, EventKind::Preview);
}

/// How often scripts and others have called a command.
fn calls(server: &RedisServer, command: &str) -> u64 {
    let info = server.ask(&["INFO", "commandstats"]);
    let key = format!("cmdstat_{command}:calls=");
    let line = info.text().lines().find_map(|line| line.strip_prefix(&key));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_heartbeat_does_not_read_all_workers() {
    let server = RedisServer::start_with(&[]);
    let clock = Clock::manual(START);
    let store = store_with(&server.url(), Rules::default(), clock.clone());
    let record = |n: usize| WorkerRecord {
        id: worker(&format!("w{n}")),
        app: app(),
        native_width: 64,
        native_height: 64,
        max_pixels: 4096,
        schedulers: Vec::new(),
        device: "cpu".to_owned(),
        version: "0".to_owned(),
        state: WorkerState::Idle,
        progress: None,
    };
    // A worker of the release before, which writes its place in the list alone, and goes.
    let old = serde_json::to_string(&record(1000)).unwrap();
    server.ask(&["HSET", "glimpse:workers", "w1000", &format!("{} {old}", START.0)]);
    assert_eq!(store.workers().await.unwrap().len(), 1);
    for n in 0..100 {
        store.heartbeat(&record(n)).await.unwrap();
    }
    assert_eq!(store.workers().await.unwrap().len(), 101);
    assert!(calls(&server, "hgetall") <= 1, "{} times", calls(&server, "hgetall"));
    // Those that are silent are dropped all the same, before long.
    for _ in 0..13 {
        clock.advance(Duration::from_secs(5));
        store.heartbeat(&record(0)).await.unwrap();
    }
    assert_eq!(server.ask(&["HKEYS", "glimpse:workers"]).texts(), ["w0"]);
    assert!(number(&server, &["PTTL", "glimpse:{glimpse:workers}:swept"]) > 0);
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
async fn a_wake_up_of_a_cancelled_wait_is_passed_on() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let gone = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for_work(&app(), &plain()).await }
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

/// What a small worker is capable of, and its next claim.
fn small(number: u64) -> Claim {
    Claim { capabilities: Capabilities::new(64 * 64, []), ..plain_claim(worker("small"), number) }
}

#[tokio::test]
async fn jobs_and_wake_ups_of_the_release_before_are_understood() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    // It has written no needs, and put its token on the list of any worker.
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
    eventually("somebody to block", || server.ask(&["INFO", "clients"]).text().contains("blocked_clients:1"))
        .await;
    server.ask(&["RPUSH", &key("wake:glimpse/demo"), "1"]);
    assert!(waits.await.unwrap() < Duration::from_secs(4));

    // A worker of the release before, which claims by its own script and sleeps at the list of any worker, is woken
    // where there are no others.
    server.ask(&["DEL", &key("looking:glimpse/demo")]);
    store.submit(&job("new")).await.unwrap();
    assert_eq!(number(&server, &["LLEN", &key("wake:glimpse/demo")]), 1);
}

#[tokio::test]
async fn who_sleeps_is_forgotten_when_it_is_gone() {
    let server = RedisServer::start_with(&[]);
    let clock = Clock::manual(START);
    let rules = Rules::default();
    let store = store_with(&server.url(), rules.clone(), clock.clone());
    let list = format!("wake:glimpse/demo:{}", small(1).capabilities.name());
    assert_eq!(store.try_claim(&small(1)).await.unwrap(), None);
    store.submit(&job("first")).await.unwrap();
    assert_eq!(number(&server, &["LLEN", &key(&list)]), 1);
    for name in ["looking:glimpse/demo", &list] {
        let ttl = number(&server, &["PTTL", &key(name)]);
        assert!((60_000..=120_000).contains(&ttl), "{name} lives for {ttl} ms");
    }
    server.ask(&["DEL", &key(&list)]);
    clock.advance(rules.worker_known);
    store.submit(&job("second")).await.unwrap();
    assert_eq!(number(&server, &["LLEN", &key(&list)]), 0);
    assert_eq!(number(&server, &["ZCARD", &key("looking:glimpse/demo")]), 0);
    assert_eq!(number(&server, &["LLEN", &key("wake:glimpse/demo")]), 1);
    // What no version wrote hinders nobody.
    server.ask(&["ZADD", &key("looking:glimpse/demo"), "9e15", "nobody"]);
    server.ask(&["HSET", &job_key(store.try_claim(&small(2)).await.unwrap().unwrap().job.id), "needs", "?"]);
    store.submit(&job("third")).await.unwrap();
    assert!(store.try_claim(&small(3)).await.unwrap().is_some());
}

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

/// What one home answers to the claims of [`a_long_queue_is_searched_as_the_transition_says`].
async fn long_queue(store: &dyn Store, clock: &Clock) -> Vec<Option<JobId>> {
    let mut chance = SmallRng::seed_from_u64(12);
    let mut taken = Vec::new();
    let mut leases = Vec::new();
    let mut number = 0;
    for n in 0..1500 {
        let id = JobId::from_parts(&app(), 1, n);
        // Large ones fill the queue, of both classes; the small ones come between and behind them.
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
async fn a_long_queue_is_searched_as_the_transition_says() {
    let server = RedisServer::start_with(&[]);
    let rules = Rules { lease: Duration::from_secs(3600), ..Rules::default() };
    let clock = Clock::manual(START);
    let expected = long_queue(&MemoryStore::new(rules.clone(), clock.clone()), &clock).await;
    assert!(expected.iter().flatten().count() > 200 && expected.contains(&None));
    let clock = Clock::manual(START);
    let store = store_with(&server.url(), rules, clock.clone());
    let before = calls(&server, "hmget");
    assert_eq!(long_queue(&*store, &clock).await, expected);
    // Without remembering where its search begins each of some 600 claims would read 400 jobs.
    let read = calls(&server, "hmget") - before;
    assert!(read < 60_000, "{read} jobs were read");
}

#[tokio::test]
async fn a_job_of_the_release_before_behind_a_long_queue_is_found_within_five_seconds() {
    let server = RedisServer::start_with(&[]);
    let clock = Clock::manual(START);
    let store = store_with(&server.url(), Rules::default(), clock.clone());
    let large = |n: usize| Job { needs: Needs::new(1 << 20, []), ..job(&format!("large {n}")) };
    for n in 0..200 {
        store.submit(&large(n)).await.unwrap();
    }
    // As it enters, the others see to it that it is found; what the release before enters is not seen to.
    let old = large(200);
    store.submit(&old).await.unwrap();
    assert_eq!(store.try_claim(&small(1)).await.unwrap(), None);
    server.ask(&["HDEL", &job_key(old.id), "needs"]);
    server.ask(&["ZADD", &key("queue:glimpse/demo"), "1", &old.id.to_string()]);
    clock.advance(Duration::from_secs(5));
    assert_eq!(store.try_claim(&small(2)).await.unwrap().map(|lease| lease.job.id), Some(old.id));
}
