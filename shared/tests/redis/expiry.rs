//! Expired and leftover keys.

use std::time::Duration;

use glimpse_shared::{
    event::CancelledBy,
    job::{Job, Release},
    store::{Cancel, Checkpoint, Clock, Retry, Rules, Store, Submit},
    webhook::{Report, Settled, Webhook, WebhookForm},
};
use glimpse_test_support::{
    RedisServer, Reply,
    jobs::{START, completed, job, preview},
};

use crate::helpers::{checkpoint_key, claim, job_key, key, log_key, number, small, store, store_with};

#[tokio::test]
async fn claim_and_reap_remove_ids_without_a_job() {
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
async fn leftover_keys_do_not_stop_a_new_submit() {
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
    // The old log's newest id is 7; the new job starts at 1.
    server.ask(&["DEL", &job_key(job.id)]);
    assert_eq!(store.submit(&job).await.unwrap(), Submit::Submitted { position: 0 });
    assert_eq!(number(&server, &["XLEN", &log_key(job.id)]), 1);
    let lease = claim(&store, "w1", 2).await;
    assert_eq!((lease.attempt, lease.checkpoint), (1, None));
}

#[tokio::test]
async fn ended_jobs_expire_and_dead_jobs_are_kept_longer() {
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
    // An entry of the list whose job has expired, or whose id was reused, is not a dead job.
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
async fn capabilities_of_silent_workers_expire() {
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
    // Unknown data in these keys is ignored.
    server.ask(&["ZADD", &key("looking:glimpse/demo"), "9e15", "nobody"]);
    server.ask(&["HSET", &job_key(store.try_claim(&small(2)).await.unwrap().unwrap().job.id), "needs", "?"]);
    store.submit(&job("third")).await.unwrap();
    assert!(store.try_claim(&small(3)).await.unwrap().is_some());
}

fn hooked(prompt: &str) -> Job {
    let webhook = Webhook {
        url: "https://example.com/hook".to_owned(),
        form: WebhookForm::Own,
        origin: "http://127.0.0.1:8080".to_owned(),
    };
    Job { webhook: Some(webhook), ..job(prompt) }
}

#[tokio::test]
async fn a_job_lives_until_its_webhook_is_called() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let rules = Rules::default();
    let job = hooked("a heart");
    store.submit(&job).await.unwrap();
    let mut lease = claim(&store, "w1", 1).await;
    store.finish(&mut lease, &completed()).await.unwrap();
    let lives = |least: Duration, most: Duration| {
        for key in [job_key(job.id), log_key(job.id)] {
            let ttl = Duration::from_millis(number(&server, &["PTTL", &key]) as u64);
            assert!(ttl > least && ttl <= most, "{key} lives for {ttl:?}");
        }
    };
    lives(rules.webhook_ttl / 2, rules.webhook_ttl);
    let delivery = store.take_deliveries().await.unwrap().remove(0);
    lives(rules.webhook_ttl / 2, rules.webhook_ttl);
    store.settle_delivery(job.id, delivery.number, Report::Acknowledged).await.unwrap();
    lives(rules.ended_ttl / 2, rules.ended_ttl);
    assert_eq!(number(&server, &["ZCARD", &key("hooks")]), 0);
}

#[tokio::test]
async fn deliveries_of_jobs_that_are_gone_are_removed() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let (gone, there) = (hooked("gone"), hooked("there"));
    for (job, number) in [(&gone, 1), (&there, 2)] {
        store.submit(job).await.unwrap();
        let mut lease = claim(&store, "w1", number).await;
        store.finish(&mut lease, &completed()).await.unwrap();
    }
    server.ask(&["DEL", &job_key(gone.id)]);
    server.ask(&["ZADD", &key("hooks"), "1", "not an id"]);
    // The id of an ended job is used again, and its entry is left.
    let again = hooked("again");
    store.submit(&again).await.unwrap();
    server.ask(&["ZADD", &key("hooks"), "2", &again.id.to_string()]);
    let taken = store.take_deliveries().await.unwrap();
    assert_eq!(taken.iter().map(|delivery| delivery.job).collect::<Vec<_>>(), [there.id]);
    assert_eq!(number(&server, &["ZCARD", &key("hooks")]), 1);
    assert_eq!(
        store.settle_delivery(gone.id, 1, Report::Failed).await.unwrap(),
        Settled::Over,
        "a job that is gone needs no call"
    );
}

#[tokio::test]
async fn a_job_of_the_previous_release_calls_nothing() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = job("old");
    store.submit(&job).await.unwrap();
    server.ask(&["HDEL", &job_key(job.id), "webhook"]);
    let mut lease = claim(&store, "w1", 1).await;
    store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(store.take_deliveries().await.unwrap(), []);
}

#[tokio::test]
async fn a_webhook_of_a_newer_release_is_skipped() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let (strange, known) = (hooked("strange"), hooked("known"));
    for (job, number) in [(&strange, 1), (&known, 2)] {
        store.submit(job).await.unwrap();
        if job.id == strange.id {
            server.ask(&["HSET", &job_key(job.id), "webhook", r#"{"url":"x","form":"morse","tenant":"a"}"#]);
        }
        let mut lease = claim(&store, "w1", number).await;
        store.finish(&mut lease, &completed()).await.unwrap();
    }
    assert_eq!(store.take_deliveries().await.unwrap(), []);
    let taken = store.take_deliveries().await.unwrap();
    assert_eq!(taken.iter().map(|delivery| delivery.job).collect::<Vec<_>>(), [known.id]);
}
