//! The shipped configuration, and the rights of its user.

use std::collections::BTreeSet;

use glimpse_shared::{
    error::StoreError,
    job::Status,
    store::{Finish, Hold, Store},
};
use glimpse_test_support::{
    Reply,
    jobs::{self, completed, job, preview},
    shipped::{shipped_server, shipped_user},
};

use crate::{
    helpers::{answered, claim, eventually, store},
    streams::{frame, next, over},
};

#[tokio::test]
async fn the_shipped_file_serves_and_keeps_a_job() {
    let (mut server, _) = shipped_server();
    let config = |name: &str| server.ask(&["CONFIG", "GET", name]).texts().concat();
    assert_eq!(config("appendfsync"), "appendfsynceverysec");
    assert_eq!(config("maxmemory-policy"), "maxmemory-policynoeviction");
    assert!(config("client-output-buffer-limit").contains("pubsub 268435456 67108864 60"));
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut lease = claim(&store, "w1", 1).await;
    let mut stream = store.follow(job.id, None);
    for seq in [1, 2] {
        assert_eq!(frame(next(&mut stream).await).0, seq);
    }
    // The server is killed right after its last answer. Its file must have the answered writes.
    let step = preview(&lease, 0);
    assert_eq!(store.publish(&mut lease, &step).await.unwrap(), Hold::Held);
    server.restart();
    assert_eq!(frame(next(&mut stream).await).0, 3);
    let finish = answered(|| {
        let (store, mut lease) = (store.clone(), lease.clone());
        async move { store.finish(&mut lease, &completed()).await }
    });
    assert_eq!(finish.await, Finish::Finished);
    assert_eq!(frame(next(&mut stream).await).0, 4);
    over(&mut stream).await;
}

/// The commands that are sent besides scripts.
const SENT: &str = "hello select ping unwatch role wait time cluster|slots eval evalsha \
    ssubscribe sunsubscribe blpop hget";

#[test]
fn the_user_may_do_what_the_scripts_do_and_no_more() {
    let user = shipped_user("glimpse");
    let rights: BTreeSet<_> =
        user.iter().filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
    let mut used: BTreeSet<_> = SENT.split(' ').map(str::to_owned).collect();
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/redis/lua");
    for file in std::fs::read_dir(scripts).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let text = text.replace("redis.pcall('", "redis.call('");
        let calls = text.split("redis.call('").skip(1).filter_map(|rest| rest.split('\'').next());
        used.extend(calls.map(str::to_lowercase));
    }
    assert_eq!(rights, used);
}

/// The message of an error.
fn why<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    answer.expect_err("a refusal").to_string()
}

#[tokio::test]
async fn a_missing_right_is_reported_and_recovers_when_granted() {
    let (server, url) = shipped_server();
    let store = store(&url);
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    for (taken, given, message) in [
        ("-evalsha", "+evalsha", "evalsha"),
        ("-hset", "+hset", "user executing the script"),
        ("resetkeys", "~glimpse:*", "keys"),
        ("off", "on", "authentication failed"),
    ] {
        server.ask(&["ACL", "SETUSER", "glimpse", taken]);
        // A disabled user keeps its open connections.
        server.ask(&["CLIENT", "KILL", "USER", "glimpse"]);
        let refusal = why(store.submit(&jobs::job("another")).await);
        assert!(refusal.contains(message), "without {given}: {refusal}");
        server.ask(&["ACL", "SETUSER", "glimpse", given]);
        answered(|| store.status(job.id)).await;
    }
    // The user has no rights to other keys.
    server.ask(&["SET", "precious", "thing"]);
    let strange = server.ask(&["ACL", "DRYRUN", "glimpse", "DEL", "precious"]);
    assert!(strange.text().contains("has no permissions"), "{strange:?}");
    let flush = server.ask(&["ACL", "DRYRUN", "glimpse", "FLUSHALL"]);
    assert!(flush.text().contains("has no permissions"), "{flush:?}");
}

#[tokio::test]
async fn a_follower_without_rights_to_its_channel_recovers_when_granted() {
    let (server, url) = shipped_server();
    let store = store(&url);
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    server.ask(&["ACL", "SETUSER", "glimpse", "resetchannels"]);
    let mut stream = store.follow(job.id, None);
    let following = tokio::spawn(async move { (frame(next(&mut stream).await).0, stream) });
    eventually("a refusal", || server.ask(&["ACL", "LOG"]) != Reply::List(Vec::new())).await;
    server.ask(&["ACL", "SETUSER", "glimpse", "&glimpse:*"]);
    let (first, mut stream) = following.await.unwrap();
    assert_eq!(first, 1);
    let mut lease = claim(&store, "w1", 1).await;
    assert_eq!(frame(next(&mut stream).await).0, 2);
    store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(frame(next(&mut stream).await).0, 3);
    over(&mut stream).await;
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_not_repeated() {
    let (server, _) = shipped_server();
    let message = why(store(&format!("redis://glimpse:secret@127.0.0.1:{}", server.port())).now().await);
    assert!(message.contains("Password authentication failed"), "{message}");
    assert!(!message.contains("secret"), "{message}");
    server.ask(&["ACL", "SETUSER", "default", "resetpass", ">secret"]);
    let message = why(store(&server.url()).now().await);
    assert!(message.contains("NOAUTH"), "{message}");
    let store = store(&format!("redis://:secret@127.0.0.1:{}", server.port()));
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    assert_eq!(store.status(job.id).await.unwrap().unwrap().status, Status::Queued);
}
