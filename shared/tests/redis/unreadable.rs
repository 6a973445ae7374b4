//! Data that no process can read is skipped, and does not stop the commands of everything else.

use std::time::Duration;

use glimpse_shared::{
    id::Partition,
    job::{WorkerRecord, WorkerState},
    store::{Clock, Rules, Store},
};
use glimpse_test_support::{
    RedisServer, Reply,
    jobs::{START, app, job, worker},
};

use crate::helpers::{claim, job_key, key, number, store, store_with};

#[tokio::test]
async fn unreadable_members_do_not_stop_a_reaping_pass() {
    let server = RedisServer::start_with(&[]);
    let clock = Clock::manual(START);
    let store = store_with(&server.url(), Rules::default(), clock.clone());
    let lost = job("a heart");
    store.submit(&lost).await.unwrap();
    claim(&store, "lost", 1).await;
    // A job whose hash is damaged, a job that is not a hash, and members that are not ids.
    let [damaged, not_a_hash] = ["damaged", "not a hash"].map(job);
    for broken in [&damaged, &not_a_hash] {
        store.submit(broken).await.unwrap();
        server.ask(&["ZADD", &key("due"), "1", &broken.id.to_string()]);
    }
    server.ask(&["HDEL", &job_key(damaged.id), "seq"]);
    server.ask(&["DEL", &job_key(not_a_hash.id)]);
    server.ask(&["SET", &job_key(not_a_hash.id), "x"]);
    for (score, member) in [("1", "notanid"), ("-inf", ""), ("2", "ü\r\n")] {
        server.ask(&["ZADD", &key("due"), score, member]);
    }
    // In another partition due itself is something else.
    let other = Partition::all().find(|partition| *partition != app().partition()).unwrap();
    server.ask(&["SET", &format!("glimpse:{{{other}}}:due"), "x"]);

    clock.advance(Duration::from_secs(16));
    for given_back in [vec![lost.id], vec![]] {
        let reaped = store.reap(store.now().await.unwrap()).await.unwrap();
        assert_eq!(reaped.given_back, given_back);
    }
    let due = server.ask(&["ZRANGE", &key("due"), "0", "-1"]);
    assert_eq!(due.texts(), [&*damaged.id.to_string(), &lost.id.to_string()]);
}

#[tokio::test]
async fn a_job_that_is_not_a_hash_does_not_block_its_queue() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let [broken, whole] = ["broken", "whole"].map(job);
    store.submit(&broken).await.unwrap();
    store.submit(&whole).await.unwrap();
    server.ask(&["DEL", &job_key(broken.id)]);
    server.ask(&["SET", &job_key(broken.id), "x"]);
    assert_eq!(claim(&store, "w1", 1).await.job.id, whole.id);
    assert_eq!(number(&server, &["ZCARD", &key("queue:glimpse/demo")]), 0);
    // What a worker's last claim left is unreadable too.
    server.ask(&["SET", &key("claim:w1"), "x"]);
    let next = job("next");
    store.submit(&next).await.unwrap();
    assert_eq!(claim(&store, "w1", 2).await.job.id, next.id);
}

#[tokio::test]
async fn an_unreadable_record_does_not_hide_the_workers() {
    let server = RedisServer::start_with(&[]);
    let clock = Clock::manual(START);
    let store = store_with(&server.url(), Rules::default(), clock.clone());
    let record = WorkerRecord {
        id: worker("w1"),
        app: app(),
        native_width: 64,
        native_height: 64,
        max_pixels: 4096,
        schedulers: Vec::new(),
        features: vec!["loras".to_owned()],
        loras: vec!["ink".to_owned()],
        device: "cpu".to_owned(),
        version: "0".to_owned(),
        state: WorkerState::Idle,
        progress: None,
        results: None,
        model: None,
    };
    store.heartbeat(&record).await.unwrap();
    let future = format!("{}0 {{}}", u64::MAX);
    for (name, text) in [("bad", "not json"), ("empty", ""), ("future", &*future), ("time", "17 {}")] {
        server.ask(&["HSET", "glimpse:workers", name, text]);
    }
    let seen = store.workers().await.unwrap();
    assert_eq!(seen.iter().map(|seen| seen.record.id.clone()).collect::<Vec<_>>(), [worker("w1")]);
    // Workers remove what is not a worker's record.
    server.ask(&["SET", "glimpse:{glimpse:workers}:swept", "x"]);
    store.heartbeat(&record).await.unwrap();
    assert_eq!(server.ask(&["HEXISTS", "glimpse:workers", "bad"]), Reply::Number(0));
    assert_eq!(store.workers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_unreadable_dead_job_does_not_hide_the_others() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    server.ask(&["ZADD", &key("dead"), "1", "notanid"]);
    server.ask(&["HSET", &key("job:notanid"), "finished", "1"]);
    server.ask(&["ZADD", &key("dead"), "2", "a-text"]);
    server.ask(&["SET", &key("job:a-text"), "x"]);
    assert_eq!(store.dead(None).await.unwrap(), []);
}
