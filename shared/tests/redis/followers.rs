//! Followers of jobs in Redis.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream::BoxStream};
use glimpse_shared::{
    event::{CancelledBy, Event, Followed, Image},
    id::JobId,
    store::{Preview, Store, redis::RedisStore},
};
use glimpse_test_support::{
    RedisServer, Reply,
    jobs::{completed, job, preview},
};
use tokio::time::Instant;

use crate::{
    helpers::{claim, eventually, job_key, log_key, number, store},
    streams::{cursor, frame, next, over},
};

/// A running job and a follower that has seen queued and started.
async fn running(store: &RedisStore) -> (glimpse_shared::store::Lease, BoxStream<'static, Followed>) {
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let lease = claim(store, "w1", 1).await;
    let mut stream = store.follow(job.id, None);
    assert_eq!(frame(next(&mut stream).await).0, 1);
    assert_eq!(frame(next(&mut stream).await).0, 2);
    (lease, stream)
}

fn subscribed(server: &RedisServer, id: JobId) -> bool {
    server.ask(&["PUBSUB", "SHARDCHANNELS"]).texts().contains(&&*log_key(id))
}

#[tokio::test]
async fn an_event_without_a_message_is_read_after_a_silence() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let (lease, mut stream) = running(&store).await;
    // In the log but not on the channel, as with a subscription that Redis has lost.
    let (log, job) = (log_key(lease.job.id), job_key(lease.job.id));
    server.ask(&["XADD", &log, "3-0", "e", r#"3 {"type":"failed","code":"internal","message":"unheard"}"#]);
    server.ask(&["HSET", &job, "seq", "3", "status", "failed"]);
    let since = Instant::now();
    assert!(matches!(frame(next(&mut stream).await), (3, Event::Failed { .. })));
    assert!(since.elapsed() < Duration::from_secs(18), "{:?}", since.elapsed());
    over(&mut stream).await;
}

#[tokio::test]
async fn a_flushed_redis_ends_streams() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let (_lease, mut stream) = running(&store).await;
    server.ask(&["FLUSHALL"]);
    // Redis publishes nothing about it; the follower reads the log after a silence.
    assert_eq!(next(&mut stream).await, Followed::Lost);
    over(&mut stream).await;
}

#[tokio::test]
async fn lost_writes_are_a_gap() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let (mut lease, mut stream) = running(&store).await;
    for step in [0, 5] {
        let step = preview(&lease, step);
        store.publish(&mut lease, &step).await.unwrap();
        next(&mut stream).await;
    }
    // Redis loses the previews, as after a failover to a replica that did not have them.
    let (log, job) = (log_key(lease.job.id), job_key(lease.job.id));
    let kept: Vec<_> =
        [1, 2].map(|n| server.ask(&["XRANGE", &log, &format!("{n}-0"), &format!("{n}-0")])).into();
    server.ask(&["DEL", &log]);
    for (entry, n) in kept.iter().zip(1..) {
        let Reply::List(entries) = entry else { panic!("{entry:?}") };
        let Reply::List(entry) = &entries[0] else { panic!("{entries:?}") };
        server.ask(&["XADD", &log, &format!("{n}-0"), "e", entry[1].texts()[1]]);
    }
    server.ask(&["HSET", &job, "seq", "2", "first", ""]);
    // The worker continues: its number is wrong once, then it is corrected.
    let repeated = preview(&lease, 10);
    store.publish(&mut lease, &repeated).await.unwrap();
    store.publish(&mut lease, &repeated).await.unwrap();
    assert_eq!(next(&mut stream).await, Followed::Gap);
    store.finish(&mut lease, &completed()).await.unwrap();
    let (seq, event) = frame(next(&mut stream).await);
    assert!(matches!(event, Event::Completed { .. }), "{event:?}");
    assert_eq!(seq, 4);
    over(&mut stream).await;
}

#[tokio::test]
async fn a_slow_follower_gets_the_newest_and_the_end() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let (mut lease, mut stream) = running(&store).await;
    let picture = Image::new("image/jpeg", 1024, 1024, &vec![0x5a; 45 * 1024]);
    for step in 0..50 {
        let preview = Preview::new(1, step, 50, picture.clone());
        store.publish(&mut lease, &preview).await.unwrap();
    }
    let mut steps = Vec::new();
    while steps.last() != Some(&49) {
        match frame(next(&mut stream).await).1 {
            Event::Preview { step, .. } => steps.push(step),
            other => panic!("{other:?}"),
        }
    }
    assert!(steps.len() <= 5, "a slow follower kept {} previews", steps.len());
    assert!(steps.is_sorted(), "{steps:?}");
    for step in 0..20 {
        let preview = Preview::new(1, step, 50, picture.clone());
        store.publish(&mut lease, &preview).await.unwrap();
    }
    store.cancel(lease.job.id, CancelledBy::Client).await.unwrap();
    let mut previews = 0;
    let end = loop {
        match frame(next(&mut stream).await) {
            (_, Event::Preview { .. }) => previews += 1,
            end => break end,
        }
    };
    assert!(previews <= 5, "{previews}");
    assert_eq!(end, (73, Event::Cancelled { by: CancelledBy::Client }));
    over(&mut stream).await;
}

#[tokio::test]
async fn the_last_follower_turns_off_the_channel() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let (lease, stream) = running(&store).await;
    let mut second = store.follow(lease.job.id, cursor(1));
    assert_eq!(frame(next(&mut second).await).0, 2);
    assert!(subscribed(&server, lease.job.id));
    drop(stream);
    // The second follower's subscription is confirmed after the effects of the first one's end.
    let mut other = store.follow(job("never submitted").id, None);
    assert_eq!(next(&mut other).await, Followed::Lost);
    assert!(subscribed(&server, lease.job.id));
    drop(second);
    eventually("the channel to be turned off", || !subscribed(&server, lease.job.id)).await;
    // And it can be subscribed again.
    let mut third = store.follow(lease.job.id, cursor(1));
    assert_eq!(frame(next(&mut third).await).0, 2);
    assert!(subscribed(&server, lease.job.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_followers_share_one_connection() {
    const JOBS: usize = 40;
    const EACH: usize = 50;
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let mut streams = Vec::new();
    let mut leases = Vec::new();
    for n in 0..JOBS {
        let job = job(&format!("job {n}"));
        store.submit(&job).await.unwrap();
        leases.push(claim(&store, "w1", n as u64 + 1).await);
        streams.extend((0..EACH).map(|_| store.follow(job.id, None)));
    }
    for stream in &mut streams {
        assert_eq!(frame(next(stream).await).0, 1);
    }
    assert_eq!(server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).text().lines().count(), 1);
    for lease in &mut leases {
        let preview = preview(lease, 0);
        store.publish(lease, &preview).await.unwrap();
        store.finish(lease, &completed()).await.unwrap();
    }
    let ends = streams.into_iter().map(|mut stream| async move {
        loop {
            if let (seq, Event::Completed { .. }) = frame(next(&mut stream).await) {
                over(&mut stream).await;
                return seq;
            }
        }
    });
    let ends = futures::future::join_all(ends).await;
    assert_eq!(ends, vec![4; JOBS * EACH]);
    eventually("every channel to be turned off", || {
        server.ask(&["PUBSUB", "SHARDCHANNELS"]).texts().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_stream_outlives_its_store() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let (mut lease, mut stream) = running(&store).await;
    let other = crate::helpers::store(&server.url());
    drop(store);
    assert!(stream.next().now_or_never().is_none());
    other.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(frame(next(&mut stream).await).0, 3);
    over(&mut stream).await;
    drop(stream);
    // And then the connection is closed.
    eventually("the connection to go", || {
        server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).text().is_empty()
    })
    .await;
    assert_eq!(number(&server, &["EXISTS", &job_key(lease.job.id)]), 1);
}
