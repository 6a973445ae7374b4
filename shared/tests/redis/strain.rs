//! Redis responds but cannot work normally: it loads, is full of clients, closes connections, or loses its scripts.

use std::{
    collections::BTreeSet,
    net::TcpStream,
    time::{Duration, Instant},
};

use futures::future::join_all;
use glimpse_shared::{
    error::StoreError,
    event::{CancelledBy, Event, Image},
    job::Status,
    store::{Finish, Preview, Store},
};
use glimpse_test_support::{
    RedisServer,
    jobs::{self, completed, job, plain, preview},
};

use crate::{
    crowd::Crowd,
    helpers::{answered, claim, eventually, store, unavailable},
    relay::Relay,
    streams::{cursor, frame, next, over},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_nothing_that_was_answered() {
    let mut server = RedisServer::start();
    let store = store(&server.url());
    let crowd = Crowd::start(&store, 60, 3).await;
    for ended in [5, 20, 35] {
        crowd.until_ended(ended).await;
        server.restart();
    }
    let totals = crowd.totals().await;
    assert_eq!((totals.ends, totals.lost, totals.gaps), (60, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_flushed_again_and_again_are_sent_again() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let crowd = Crowd::start(&store, 40, 3).await;
    for ended in (0..40).step_by(2) {
        crowd.until_ended(ended).await;
        server.ask(&["SCRIPT", "FLUSH"]);
    }
    let totals = crowd.totals().await;
    assert_eq!((totals.ends, totals.lost, totals.gaps), (40, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_its_file_is_waited_for() {
    let mut server = RedisServer::start();
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let lease = claim(&store, "w1", 1).await;
    let mut stream = store.follow(job.id, cursor(1));
    assert_eq!(frame(next(&mut stream).await).0, 2);
    // Data to load, key by key.
    let ballast = "for n = 1, 1000 do redis.call('SET', 'ballast-' .. n, string.rep('x', 2048)) end";
    server.ask(&["EVAL", ballast, "0"]);
    server.ask(&["BGREWRITEAOF"]);
    eventually("the rewrite", || {
        let info = server.ask(&["INFO", "persistence"]);
        info.text().contains("aof_rewrite_in_progress:0") && info.text().contains("aof_rewrite_scheduled:0")
    })
    .await;
    // Slow enough for this test, which ends the load.
    server.restart_loading(&["--loading-process-events-interval-bytes", "1024", "--key-load-delay", "20000"]);
    let refusal = store.status(job.id).await.expect_err("loading").to_string();
    assert!(refusal.contains("loading the dataset"), "{refusal}");
    unavailable(store.submit(&jobs::job("another")).await);
    unavailable(store.finish(&mut lease.clone(), &completed()).await);
    // A loading server could return its time, but a reaper must not count that as an answer.
    unavailable(store.now().await);
    unavailable(store.reap(Default::default()).await);
    // A new follower waits: the job is neither found nor lost.
    let mut late = store.follow(job.id, cursor(1));
    tokio::time::timeout(Duration::from_millis(500), next(&mut late)).await.expect_err("nothing to tell yet");
    server.ask(&["CONFIG", "SET", "key-load-delay", "0"]);
    let finish = answered(|| {
        let (store, mut lease) = (store.clone(), lease.clone());
        async move { store.finish(&mut lease, &completed()).await }
    });
    assert_eq!(finish.await, Finish::Finished);
    for stream in [&mut stream, &mut late] {
        assert_eq!(frame(next(stream).await).0, 3);
        over(stream).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_full_of_clients_is_waited_for() {
    const CLIENTS: usize = 20;
    let server = RedisServer::start_with(&["--maxclients", &CLIENTS.to_string()]);
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut stream = store.follow(job.id, None);
    assert_eq!(frame(next(&mut stream).await).0, 1);
    // Other clients take all connections, and the store's own are closed.
    let mut hogs = vec![hog(&server)];
    server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    while hogs.len() < 2 * CLIENTS {
        hogs.push(hog(&server));
    }
    server
        .try_ask(&["PING"])
        .map(|reply| assert!(matches!(reply, glimpse_test_support::Reply::Error(_))))
        .ok();

    // A command without a connection is Unavailable, never Corrupt.
    let storm = || join_all((0..64).map(|_| store.status(job.id)));
    for answer in storm().await {
        assert!(!matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
    }
    let newcomer = crate::helpers::store(&server.url());
    unavailable(newcomer.submit(&job).await);
    unavailable(newcomer.wait_for_work(&job.app, &plain()).await);
    let cancelled = answered(|| store.cancel(job.id, CancelledBy::Client));
    drop(hogs);
    cancelled.await;
    assert_eq!(frame(next(&mut stream).await), (2, Event::Cancelled { by: CancelledBy::Client }));
    over(&mut stream).await;
    let state = answered(|| newcomer.status(job.id)).await.unwrap();
    assert_eq!(state.status, Status::Cancelled);
}

fn hog(server: &RedisServer) -> TcpStream {
    TcpStream::connect(("127.0.0.1", server.port())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_redis_disconnects_misses_nothing() {
    // Less than one preview: each preview exceeds the buffer limit and closes the reader's connection.
    let limit = ["--client-output-buffer-limit", "pubsub 40kb 0 0"];
    let server = RedisServer::start_with(&limit);
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut lease = claim(&store, "w1", 1).await;
    let mut stream = store.follow(job.id, cursor(1));
    assert_eq!(frame(next(&mut stream).await).0, 2);
    let picture = Image::new("image/jpeg", 1024, 1024, &vec![0x5a; 45 * 1024]);
    let mut lines = BTreeSet::new();
    for step in 0..6 {
        let preview = Preview::new(1, step, 20, picture.clone());
        store.publish(&mut lease, &preview).await.unwrap();
        assert_eq!(frame(next(&mut stream).await).0, u64::from(step) + 3);
        let line = server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        lines.extend(line.text().split(' ').next().map(str::to_owned));
    }
    assert!(lines.len() >= 3, "the connections were {lines:?}");
    // Several previews at once, and the end.
    for step in 6..9 {
        let preview = Preview::new(1, step, 20, picture.clone());
        store.publish(&mut lease, &preview).await.unwrap();
    }
    store.finish(&mut lease, &completed()).await.unwrap();
    let mut seqs = vec![8];
    while seqs.last() != Some(&12) {
        seqs.push(frame(next(&mut stream).await).0);
    }
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    over(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_on_a_silent_connection_reconnects() {
    let server = RedisServer::start_with(&[]);
    let address = Relay::to(server.port()).await;
    let followed = store(&address.url());
    let direct = store(&server.url());
    let job = job("a heart");
    direct.submit(&job).await.unwrap();
    let mut lease = claim(&direct, "w1", 1).await;
    let mut stream = followed.follow(job.id, cursor(1));
    assert_eq!(frame(next(&mut stream).await).0, 2);
    // Connections stay open but transfer nothing, as behind a firewall that dropped them.
    address.freeze();
    let step = preview(&lease, 0);
    direct.publish(&mut lease, &step).await.unwrap();
    direct.finish(&mut lease, &completed()).await.unwrap();
    let since = Instant::now();
    assert!(matches!(frame(next(&mut stream).await), (4, Event::Completed { .. })));
    assert!(since.elapsed() < Duration::from_secs(18), "{:?}", since.elapsed());
    over(&mut stream).await;
    answered(|| followed.status(job.id)).await.expect("the job");
}
