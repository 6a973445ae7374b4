//! Both implementations get the same commands at the same times, and must give the same answers, states and logs. A
//! ledger checks that no promise is broken.

use std::sync::Arc;

use glimpse_test_support::{RedisServer, Reply, fuzz};
use proptest::prelude::*;

use crate::{pair::Pair, steps::step};

/// Checks the keys in Redis: their time to live, and whether they match the jobs.
fn check_keys(server: &RedisServer, prefix: &str) {
    let keys = server.ask(&["KEYS", &format!("{prefix}:*")]);
    for key in keys.texts() {
        let kind = key
            .trim_start_matches(prefix)
            .trim_start_matches(":")
            .split(':')
            .find(|part| !part.contains('{'));
        let for_any = kind == Some("wake") && key.rsplit(':').next().is_some_and(|app| app.contains('/'));
        let lasting =
            for_any || matches!(kind, Some("queue" | "due" | "dead" | "hooks" | "workers" | "secret"));
        let Reply::Number(ttl) = server.ask(&["PTTL", key]) else { panic!("{key} has no PTTL") };
        assert_eq!(ttl == -1, lasting, "{key} lives for {ttl} ms");
        if kind == Some("wake") {
            assert_eq!(server.ask(&["LLEN", key]), Reply::Number(1));
        }
        if kind == Some("ckpt") {
            let status = server.ask(&["HGET", &key.replace(":ckpt:", ":job:"), "status"]);
            assert!(matches!(status.text(), "queued" | "running"), "{key} of a job that is {status:?}");
        }
        if kind == Some("job") {
            let (stem, id) = key.split_once("job:").unwrap();
            let status = server.ask(&["HGET", key, "status"]);
            let due = server.ask(&["ZSCORE", &format!("{stem}due"), id]);
            let unfinished = matches!(status.text(), "queued" | "running");
            assert_eq!(due != Reply::Nil, unfinished, "{key} is {status:?} and due {due:?}");
            let app = server.ask(&["HGET", key, "app"]);
            let waits = server.ask(&["ZSCORE", &format!("{stem}queue:{}", app.text()), id]);
            assert_eq!(waits != Reply::Nil, status.text() == "queued", "{key} is {status:?}");
        }
    }
}

#[test]
fn both_implementations_agree() {
    let server = Arc::new(RedisServer::start_with(&[]));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = ProptestConfig { failure_persistence: None, ..fuzz::cases(60) };
    let case = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    // A short queue is often full; a long one has several jobs to choose from.
    let result = runner.run(&(prop::collection::vec(step(), 1..120), 1..6_u64), |(steps, queue_limit)| {
        case.set(case.get() + 1);
        let prefix = format!("case-{}", case.get());
        runtime.block_on(async {
            let mut pair = Pair::new(&server.url(), &prefix, queue_limit);
            for step in &steps {
                pair.take(step).await;
                pair.compare().await;
                pair.compare_tokens(&server);
            }
            pair.compare_logs().await;
            pair.end().await;
        });
        check_keys(&server, &prefix);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
