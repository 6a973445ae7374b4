//! Scripts read no more data than they need.

use std::time::Duration;

use glimpse_shared::{
    event::{EventKind, Image},
    job::{Job, WorkerRecord, WorkerState},
    store::{Clock, Hold, Preview, Rules, Shown, Store},
};
use glimpse_test_support::{
    RedisServer,
    jobs::{START, app, job, worker},
};

use crate::helpers::{calls, claim, number, store, store_with};

/// The number of bytes that Redis has sent.
fn sent(server: &RedisServer) -> u64 {
    let info = server.ask(&["INFO", "stats"]);
    let line = info.text().lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.expect("a number of bytes").parse().unwrap()
}

#[tokio::test]
async fn a_status_does_not_read_the_request() {
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
async fn a_status_does_not_read_pictures() {
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
        features: vec!["loras".to_owned()],
        loras: vec!["ink".to_owned()],
        device: "cpu".to_owned(),
        version: "0".to_owned(),
        state: WorkerState::Idle,
        progress: None,
        results: None,
        model: None,
    };
    // A silent worker of the previous release.
    let old = serde_json::to_string(&record(1000)).unwrap();
    server.ask(&["HSET", "glimpse:workers", "w1000", &format!("{} {old}", START.0)]);
    assert_eq!(store.workers().await.unwrap().len(), 1);
    for n in 0..100 {
        store.heartbeat(&record(n)).await.unwrap();
    }
    assert_eq!(store.workers().await.unwrap().len(), 101);
    assert!(calls(&server, "hgetall") <= 1, "{} times", calls(&server, "hgetall"));
    // Silent workers are still removed, after some time.
    for _ in 0..13 {
        clock.advance(Duration::from_secs(5));
        store.heartbeat(&record(0)).await.unwrap();
    }
    assert_eq!(server.ask(&["HKEYS", "glimpse:workers"]).texts(), ["w0"]);
    assert!(number(&server, &["PTTL", "glimpse:{glimpse:workers}:swept"]) > 0);
}
