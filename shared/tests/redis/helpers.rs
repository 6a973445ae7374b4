//! Stores, key names and waits for the tests of Redis.

use std::{future::Future, sync::Arc, time::Duration};

use glimpse_shared::{
    error::{StoreError, StoreResult},
    id::{JobId, Micros},
    needs::Capabilities,
    store::{Claim, Clock, Lease, Rules, Store, redis::RedisStore},
};
use glimpse_test_support::{
    RedisServer, Reply, SOON,
    jobs::{app, plain_claim, worker},
};
use tokio::time::Instant;

/// A store with Redis' own clock.
pub fn store(url: &str) -> Arc<RedisStore> {
    store_with(url, Rules::default(), Clock::Store)
}

pub fn store_with(url: &str, rules: Rules, clock: Clock) -> Arc<RedisStore> {
    Arc::new(RedisStore::connect(&url.into(), &"glimpse".parse().unwrap(), rules, clock).unwrap())
}

/// A key of the app's partition.
pub fn key(name: &str) -> String {
    format!("glimpse:{{{}}}:{name}", app().partition())
}

pub fn job_key(id: JobId) -> String {
    key(&format!("job:{id}"))
}

pub fn log_key(id: JobId) -> String {
    key(&format!("log:{id}"))
}

pub fn checkpoint_key(id: JobId) -> String {
    key(&format!("ckpt:{id}"))
}

/// Claims a job; there must be one.
pub async fn claim(store: &RedisStore, name: &str, number: u64) -> Lease {
    store.try_claim(&plain_claim(worker(name), number)).await.unwrap().expect("a job to claim")
}

/// Retries a command until Redis answers, as a worker does.
pub async fn answered<T, F: Future<Output = StoreResult<T>>>(mut command: impl FnMut() -> F) -> T {
    let end = Instant::now() + SOON;
    loop {
        match command().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(why)) => assert!(Instant::now() < end, "no answer: {why}"),
            Err(StoreError::Corrupt(what)) => panic!("corrupt: {what}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until `condition` holds.
pub async fn eventually(for_what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "waited for {for_what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the store's time is later than `at`.
pub async fn passed(store: &RedisStore, at: Micros) {
    let end = Instant::now() + SOON;
    while store.now().await.unwrap() <= at {
        assert!(Instant::now() < end, "waited for {}", at.rfc3339());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a replica has all current writes of its master.
pub async fn caught_up(master: &RedisServer, replica: &RedisServer) {
    let at = |server: &RedisServer| {
        let info = server.ask(&["INFO", "replication"]);
        let line = info.text().lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
        line.expect("an offset").parse::<u64>().unwrap()
    };
    let wanted = at(master);
    eventually("the replica to have it all", || at(replica) >= wanted).await;
}

/// Checks that the error is `Unavailable`.
pub fn unavailable<T: std::fmt::Debug>(answer: StoreResult<T>) {
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}

pub fn number(server: &RedisServer, words: &[&str]) -> i64 {
    match server.ask(words) {
        Reply::Number(number) => number,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// How often scripts and clients have called a command.
pub fn calls(server: &RedisServer, command: &str) -> u64 {
    let info = server.ask(&["INFO", "commandstats"]);
    let key = format!("cmdstat_{command}:calls=");
    let line = info.text().lines().find_map(|line| line.strip_prefix(&key));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

/// The next claim of a worker that is only capable of small pictures.
pub fn small(number: u64) -> Claim {
    Claim { capabilities: Capabilities::new(64 * 64, []), ..plain_claim(worker("small"), number) }
}
