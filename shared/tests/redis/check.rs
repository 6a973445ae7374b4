//! The check at the start: a permanent error is reported with what to do; after a temporary error it is retried.

use std::{sync::Arc, time::Duration};

use glimpse_shared::{
    error::StoreError,
    store::{
        Store,
        redis::{Check, Process, RedisStore},
    },
};
use glimpse_test_support::{
    FakeRedis, RedisCluster, RedisServer, Reply, Sentinel,
    fake::{list, text},
    jobs,
    shipped::{create_shipped_user, shipped_server, shipped_user},
};

use crate::helpers::{eventually, store};

const ALL: [Process; 3] = [Process::Api, Process::Worker, Process::Both];

async fn check(url: &str, process: Process) -> Result<Check, String> {
    store(url).check(process).await.map_err(|error| error.to_string())
}

/// The permanent error of the check.
async fn permanent_error(url: &str) -> String {
    check(url, Process::Both).await.err().unwrap_or_else(|| panic!("{url} has no permanent error"))
}

async fn names(url: &str, words: &[&str]) {
    let why = permanent_error(url).await;
    assert!(why.starts_with("--redis-url: "), "{why}");
    for word in words {
        assert!(why.contains(word), "{word}: {why}");
    }
    assert!(!why.contains("secret"), "{why}");
}

/// Checks that the check is retried.
async fn is_retried(url: &str) -> Check {
    let mut check = check(url, Process::Both).await.unwrap();
    let verdict = tokio::time::timeout(Duration::from_millis(300), check.passed()).await;
    assert!(verdict.is_err(), "{url}: {verdict:?}");
    check
}

#[tokio::test]
async fn a_server_that_is_too_old_is_named_with_its_version() {
    for (server, version) in [("redis", "6.2.6"), ("redis", "6.0.16"), ("valkey", "7.2.8")] {
        let fake = FakeRedis::of_version(server, version);
        names(&fake.url(), &[version, "Redis 7.0 or newer, or Valkey 8"]).await;
    }
    // Before Redis 6 there was no HELLO.
    let info = text("# Server\r\nredis_version:5.0.14\r\nredis_mode:standalone\r\n");
    let fake = FakeRedis::start(move |words| match words[0] {
        "INFO" => info.clone(),
        other => format!("-ERR unknown command `{other}`, with args beginning with: \r\n"),
    });
    names(&fake.url(), &["Redis 5.0.14", "7.0 or newer"]).await;
    // Valkey 7.2 reports the version of Redis 7.2.
    let hello = list(&["server", "redis", "version", "7.2.4", "mode", "standalone"]);
    let info = text("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.2.8\r\n");
    let fake = FakeRedis::start(move |words| match words[0] {
        "HELLO" => hello.clone(),
        "INFO" => info.clone(),
        _ => "+OK\r\n".to_owned(),
    });
    names(&fake.url(), &["Valkey 7.2.8"]).await;
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let server = RedisServer::start_with(&["--databases", "4"]);
    names(&format!("{}/4", server.url()), &["no database 4", "databases"]).await;
    for process in ALL {
        check(&format!("{}/3", server.url()), process).await.unwrap().passed().await.unwrap();
    }
}

#[tokio::test]
async fn a_url_for_another_kind_of_server_is_named() {
    let single = RedisServer::start_with(&[]);
    let host = format!("127.0.0.1:{}", single.port());
    names(&format!("redis+cluster://{host}"), &[&host, "no cluster", "redis://"]).await;
    names(&format!("redis+sentinel://{host}/fleet"), &[&host, "no sentinel"]).await;
    let node = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    names(&node.url(), &["node of a cluster", "redis+cluster://"]).await;
    let sentinel = Sentinel::of(&single, 1);
    names(&sentinel.server.url(), &["is a sentinel", "redis+sentinel://"]).await;
    let asked = format!("redis+sentinel://127.0.0.1:{}", sentinel.server.port());
    names(&format!("{asked}/elsewhere"), &["no master named elsewhere", "fleet"]).await;
    check(&format!("{asked}/fleet"), Process::Both).await.unwrap().passed().await.unwrap();
}

#[tokio::test]
async fn a_cluster_passes_and_each_of_its_nodes_is_asked_for_its_rights() {
    let cluster = RedisCluster::start();
    for process in ALL {
        check(&cluster.url(), process).await.unwrap().passed().await.unwrap();
    }
    for node in cluster.masters() {
        create_shipped_user(node, "glimpse");
    }
    let url = cluster.url().replace("redis+cluster://", "redis+cluster://glimpse:change-me@");
    check(&url, Process::Both).await.unwrap().passed().await.unwrap();
    cluster.masters()[2].ask(&["ACL", "SETUSER", "glimpse", "-zadd"]);
    names(&url, &["ZADD on glimpse:{", "rights"]).await;
}

#[tokio::test]
async fn protected_mode_is_named() {
    let denied = FakeRedis::that_says(
        "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set",
    );
    names(&denied.url(), &["protected mode", "password"]).await;
    names(&format!("{}/3", denied.url().replace("redis://", "redis://me:secret@")), &["protected mode"])
        .await;
    // After the start, /health/ready reports it.
    let why = store(&format!("{}/3", denied.url())).ready().await.unwrap_err().to_string();
    assert!(why.contains("DENIED"), "{why}");
}

#[tokio::test]
async fn a_wrong_login_is_named_without_its_password() {
    let server = RedisServer::start_with(&[]);
    let host = format!("127.0.0.1:{}", server.port());
    names(&format!("redis://:secret@{host}"), &["has no password", "remove it"]).await;
    names(&format!("redis://somebody:secret@{host}"), &["refuses the user or the password"]).await;
    server.ask(&["CONFIG", "SET", "requirepass", "other"]);
    names(&format!("redis://{host}"), &["requires a login", "USER:PASSWORD@"]).await;
    names(&format!("redis://:secret@{host}"), &["refuses the user or the password"]).await;
}

#[tokio::test]
async fn every_right_that_a_process_needs_is_tried_and_only_the_format_is_written() {
    let (server, url) = shipped_server();
    for process in ALL {
        check(&url, process).await.unwrap().passed().await.unwrap();
    }
    let rights: Vec<_> = shipped_user("glimpse").into_iter().filter(|word| word.starts_with('+')).collect();
    // Rights for other kinds of servers or other flags; and HELLO, which is always allowed.
    let elsewhere = ["+role", "+cluster|slots", "+select", "+wait", "+hello"];
    for right in rights.iter().filter(|right| !elsewhere.contains(&right.as_str())) {
        let name = &right[1..];
        server.ask(&["ACL", "SETUSER", "glimpse", &format!("-{name}")]);
        let why = permanent_error(&url).await;
        let named = name.to_uppercase();
        assert!(
            why.contains(&named) && why.contains("rights of the user in deploy/redis.conf"),
            "{name}: {why}"
        );
        server.ask(&["ACL", "SETUSER", "glimpse", right]);
    }
    for (taken, given) in [("resetkeys", "~glimpse:*"), ("resetchannels", "&glimpse:*")] {
        server.ask(&["ACL", "SETUSER", "glimpse", taken]);
        let why = permanent_error(&url).await;
        let address = format!("the server at 127.0.0.1:{}", server.port());
        assert!(why.contains(" on glimpse:") && why.contains(&address), "{taken}: {why}");
        assert!(!why.contains("::") && !why.contains(":, "), "{taken}: {why}");
        server.ask(&["ACL", "SETUSER", "glimpse", given]);
    }
    server.ask(&["ACL", "SETUSER", "glimpse", "resetkeys", "%R~glimpse:*"]);
    assert!(permanent_error(&url).await.contains("rights"));
    assert_eq!(server.ask(&["KEYS", "*"]).texts(), ["glimpse:format"]);
}

#[tokio::test]
async fn a_process_needs_no_rights_but_its_own() {
    let (server, url) = shipped_server();
    for (right, without) in
        [("-blpop", Process::Api), ("-hincrby", Process::Api), ("-hvals", Process::Worker)]
    {
        server.ask(&["ACL", "SETUSER", "glimpse", right]);
        check(&url, without).await.unwrap().passed().await.unwrap();
        server.ask(&["ACL", "SETUSER", "glimpse", &right.replace('-', "+")]);
    }
}

#[tokio::test]
async fn a_command_that_was_switched_off_is_named() {
    for command in ["ZREMRANGEBYRANK", "BLPOP", "EVALSHA", "SSUBSCRIBE", "HELLO"] {
        let server = RedisServer::start_with(&["--rename-command", command, ""]);
        let address = format!("the server at 127.0.0.1:{}", server.port());
        names(&server.url(), &[&format!("no command {command}"), "rename", &address]).await;
    }
}

#[tokio::test]
async fn a_command_that_is_refused_is_named_with_the_answer() {
    for (command, answer) in [
        ("SSUBSCRIBE", "ERR unsupported command ssubscribe"),
        ("SUNSUBSCRIBE", "ERR not implemented"),
        ("EVALSHA", "ERR Command is not available: EVALSHA"),
        ("EVALSHA", "ERR Lua scripting is disabled"),
        ("BLPOP", "ERR blocking commands are disabled"),
        ("HELLO", "ERR unsupported command"),
    ] {
        let fake = FakeRedis::that_refuses(command, answer);
        let port = format!("127.0.0.1:{}", fake.port());
        names(&fake.url(), &[&format!("the command {command},"), answer, &port]).await;
    }
    let fake =
        FakeRedis::that_refuses("AUTH", "ERR unknown command `AUTH`, with args beginning with: `secret`");
    names(&fake.url().replace("redis://", "redis://:secret@"), &["the command AUTH"]).await;
}

#[tokio::test]
async fn an_answer_with_a_temporary_cause_is_waited_for() {
    for (command, answer) in [
        ("EVALSHA", "BUSY Redis is busy running a script"),
        ("EVALSHA", "MISCONF Redis is configured to save RDB snapshots"),
        ("EVALSHA", "OOM command not allowed when used memory > 'maxmemory'"),
        ("SSUBSCRIBE", "ERR max number of clients + cluster connections reached"),
        ("HELLO", "ERR max requests limit exceeded"),
        ("HELLO", "MASTERDOWN Link with MASTER is down"),
    ] {
        let fake = FakeRedis::that_refuses(command, answer);
        is_retried(&fake.url()).await;
        let why = store(&fake.url()).ready().await.unwrap_err();
        assert!(matches!(why, StoreError::Unavailable(_)), "{why:?}");
        assert_eq!(why.to_string().matches("the store is unavailable").count(), 1, "{why}");
    }
}

#[tokio::test]
async fn what_is_not_redis_is_named() {
    let http = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    for (server, sends) in [
        (FakeRedis::that_replies(http), "HTTP/1.1 400 Bad Request"),
        (FakeRedis::that_replies("ERROR\r\n"), "ERROR"),
        (FakeRedis::that_says("SSH-2.0-OpenSSH_9.6"), "SSH-2.0-OpenSSH_9.6"),
        (FakeRedis::that_says("J\0\0\0\n8.0.36\0"), "8.0.36"),
        (FakeRedis::that_says(r#"INFO {"server_id":"x"}"#), "INFO"),
    ] {
        let port = format!("127.0.0.1:{}", server.port());
        names(&server.url(), &[&format!("what answers at {port} is not Redis"), sends]).await;
        let why = store(&server.url()).ready().await.unwrap_err().to_string();
        assert!(!why.contains('\n'), "{why}");
    }
}

#[tokio::test]
async fn a_product_that_imitates_redis_is_named() {
    let hello = list(&["server", "redis", "version", "2.9.0", "mode", "standalone"]);
    let info = text("version:2.9.0\r\nkvrocks_version:2.9.0\r\nredis_version:4.0.0\r\n");
    let fake = FakeRedis::start(move |words| match words[0] {
        "HELLO" => hello.clone(),
        "INFO" => info.clone(),
        _ => "+OK\r\n".to_owned(),
    });
    names(&fake.url(), &["is kvrocks 2.9.0", "7.0 or newer"]).await;
}

#[tokio::test]
async fn a_sentinels_login_is_mentioned_only_if_the_login_is_wrong() {
    let denied = FakeRedis::that_says("-DENIED Redis is running in protected mode");
    let locked =
        FakeRedis::that_refuses("HELLO", "NOAUTH HELLO must be called with the client already authenticated");
    for (fake, mentioned) in [(denied, false), (locked, true)] {
        let why = permanent_error(&format!("redis+sentinel://127.0.0.1:{}/fleet", fake.port())).await;
        assert_eq!(why.contains("sentinel_password"), mentioned, "{why}");
    }
}

#[tokio::test]
async fn readiness_checks_the_rights_of_the_process() {
    let (server, url) = shipped_server();
    let worker = store(&url);
    worker.check(Process::Worker).await.unwrap().passed().await.unwrap();
    worker.ready().await.unwrap();
    for (taken, given, named) in [
        ("-blpop", "+blpop", "BLPOP"),
        ("-evalsha", "+evalsha", "evalsha"),
        ("resetkeys", "~glimpse:*", "keys"),
    ] {
        server.ask(&["ACL", "SETUSER", "glimpse", taken]);
        let why = worker.ready().await.unwrap_err().to_string();
        assert!(why.contains(named), "{taken}: {why}");
        server.ask(&["ACL", "SETUSER", "glimpse", given]);
        worker.ready().await.unwrap();
    }
    server.ask(&["ACL", "SETUSER", "glimpse", "-hvals"]);
    worker.ready().await.unwrap();
}

#[tokio::test]
async fn a_temporary_error_is_retried() {
    let (mut server, replica) = {
        let server = RedisServer::start();
        let replica = server.start_replica();
        (server, replica)
    };
    let mut check = is_retried(&replica.url()).await;
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    check.passed().await.unwrap();
    server.kill();
    let mut check = is_retried(&server.url()).await;
    server.restart();
    check.passed().await.unwrap();
    let full = FakeRedis::that_says("-ERR max number of clients reached");
    is_retried(&full.url()).await;
    let loading = FakeRedis::start(|words| match words[0] {
        "HELLO" => list(&["server", "redis", "version", "7.0.15", "mode", "standalone"]),
        _ => "-LOADING Redis is loading the dataset in memory\r\n".to_owned(),
    });
    is_retried(&loading.url()).await;
}

#[tokio::test]
async fn a_permanent_error_is_found_after_a_temporary_one() {
    let mut server = RedisServer::start_with(&["--databases", "2"]);
    let url = format!("{}/7", server.url());
    server.kill();
    let mut check = is_retried(&url).await;
    server.restart();
    assert!(check.failed().await.to_string().contains("no database 7"));
}

#[tokio::test]
async fn a_right_that_is_lost_later_is_unavailable_and_named() {
    let (server, url) = shipped_server();
    let store: Arc<RedisStore> = store(&url);
    store.ready().await.unwrap();
    for (taken, given, named) in [
        ("-hset", "+hset", "HSET"),
        ("-ssubscribe", "+ssubscribe", "SSUBSCRIBE"),
        ("resetchannels", "&glimpse:*", "SPUBLISH"),
        ("-evalsha", "+evalsha", "evalsha"),
    ] {
        server.ask(&["ACL", "SETUSER", "glimpse", taken]);
        let StoreError::Unavailable(why) = store.ready().await.unwrap_err() else {
            panic!("{taken}: corrupt")
        };
        assert!(why.contains(named), "{taken}: {why}");
        let refused = store.submit(&jobs::job("a heart")).await;
        if taken == "-hset" {
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        }
        server.ask(&["ACL", "SETUSER", "glimpse", given]);
        eventually("the server to answer", || server.ask(&["PING"]) == Reply::Text("PONG".to_owned())).await;
        store.ready().await.unwrap();
    }
}
