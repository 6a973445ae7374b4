//! Starts with an invalid configuration: each program ends with exit code 2 and reports what to do. An empty
//! environment variable counts as not set.

use std::{collections::BTreeSet, process::Command, time::Duration};

use glimpse_test_support::{FakeRedis, RedisServer, Reply};

use super::stack::{Process, SOON, binary, client, until_log};

const WORKER: [&str; 6] = ["--model", "models/demo", "--app", "glimpse/demo", "--device", "cpu"];

/// Each program that uses Redis, at that URL.
fn programs(url: &str) -> Vec<(&'static str, Vec<String>)> {
    let args = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let serve =
        [&["serve", "--redis-url", url, "--listen", "127.0.0.1:0"][..], &["--device", "cpu"]].concat();
    vec![
        ("glimpse-api", args(&["--redis-url", url, "--listen", "127.0.0.1:0"])),
        ("glimpse-worker", args(&[&["--redis-url", url][..], &WORKER].concat())),
        ("glimpse", args(&serve)),
    ]
}

fn start((name, args): &(&'static str, Vec<String>)) -> Process {
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Process::start(name, &args)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_work_ends_each_program_with_2_and_says_what_to_do() {
    let server = RedisServer::start_with(&["--databases", "4"]);
    let old = FakeRedis::of_version("redis", "6.2.6");
    let protected = FakeRedis::that_says("-DENIED Redis is running in protected mode");
    for (url, said) in [
        (format!("{}/16", server.url()), "no database 16"),
        (server.url().replace("redis://", "redis+cluster://"), "no cluster"),
        (server.url().replace("redis://", "rediss://"), "does not speak TLS"),
        (format!("{}?timeout=5", server.url()), "timeout"),
        (old.url(), "Redis 6.2.6"),
        (protected.url(), "protected mode"),
    ] {
        for program in programs(&url) {
            let mut process = start(&program);
            let status = process.exit(SOON).await;
            let log = process.log();
            assert_eq!(status.code(), Some(2), "{} {url}: {log}", program.0);
            assert!(log.contains(said), "{} {url}: {log}", program.0);
        }
    }
    assert_eq!(server.ask(&["DBSIZE"]), Reply::Number(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_work_is_found_at_the_first_answer_too() {
    let mut server = RedisServer::start_with(&["--databases", "4"]);
    server.kill();
    let url = format!("{}/16", server.url());
    let mut programs: Vec<_> = programs(&url).iter().map(start).collect();
    for process in &programs {
        until_log(process, "waiting for Redis").await;
    }
    server.restart();
    for process in &mut programs {
        assert_eq!(process.exit(SOON).await.code(), Some(2), "{}", process.log());
        assert!(process.log().contains("no database 16"), "{}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_what_it_runs_on_before_redis_answers_and_writes_nothing() {
    let mut redis = RedisServer::start();
    redis.kill();
    let url = redis.url();
    let mut worker = Process::start("glimpse-worker", &[&["--redis-url", &url][..], &WORKER].concat());
    until_log(&worker, "waiting for Redis").await;
    let log = worker.log();
    let (device, waiting) = (log.find("the device is open"), log.find("waiting for Redis"));
    assert!(device.is_some() && device < waiting, "{log}");
    worker.signal("TERM");
    assert!(worker.exit(Duration::from_secs(5)).await.success(), "{}", worker.log());
    redis.restart();
    assert_eq!(redis.ask(&["DBSIZE"]), Reply::Number(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_waited_for_and_readiness_names_the_reason() {
    let master = RedisServer::start();
    let replica = master.start_replica();
    let mut api = Process::start("glimpse-api", &["--redis-url", &replica.url(), "--listen", "127.0.0.1:0"]);
    let ready = format!("{}/health/ready", api.address().await);
    let answer = client().get(&ready).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let body = answer.text().await.unwrap();
    assert!(body.contains("READONLY") || body.contains("read only"), "{body}");
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    let begun = std::time::Instant::now();
    while client().get(&ready).send().await.unwrap().status() != 200 {
        assert!(begun.elapsed() < SOON, "{}", api.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    replica.ask(&["ACL", "SETUSER", "default", "-hset"]);
    let answer = client().get(&ready).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let body = answer.text().await.unwrap();
    assert!(body.contains("HSET"), "{body}");
}

/// The environment variables in a program's help.
fn variables(name: &str, command: &[&str]) -> BTreeSet<String> {
    let help = Command::new(binary(name)).args(command).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let named = help.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next());
    named.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_set_and_empty_is_not_set() {
    let redis = RedisServer::start();
    let read_ourselves = [
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
        "HUGGING_FACE_HUB_TOKEN",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    let empty = |name: &str, command: &[&str]| {
        let mut names = variables(name, command);
        assert!(names.len() >= 5, "{name}: {names:?}");
        names.extend(read_ourselves.map(str::to_owned));
        names
    };
    let start = |name: &str, command: &[&str], args: &[&str]| {
        let names = empty(name, command);
        let env: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        Process::start_with(name, &[command, args].concat(), &env)
    };
    let url = redis.url();
    let mut api = start("glimpse-api", &[], &["--redis-url", &url, "--listen", "127.0.0.1:0"]);
    api.address().await;
    let worker = start("glimpse-worker", &[], &[&["--redis-url", &url][..], &WORKER].concat());
    until_log(&worker, "ready for jobs").await;
    let mut serve = start("glimpse", &["serve"], &["--listen", "127.0.0.1:0"]);
    serve.address().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("heart.png");
    let args = ["a heart", "--steps", "1", "-o", out.to_str().unwrap()];
    let mut generate = start("glimpse", &["generate"], &args);
    assert!(generate.exit(SOON).await.success(), "{}", generate.log());
    assert!(out.is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_a_server_is_used_whole_or_refused_without_its_password() {
    for (server, named) in [
        ("http://127.0.0.1:1/?x=1", "?"),
        ("http://127.0.0.1:1/#x", "#"),
        ("ftp://127.0.0.1", "http://"),
        ("http://me:secret@127.0.0.1:1", "127.0.0.1:1"),
    ] {
        let mut generate =
            Process::start("glimpse", &["generate", "a heart", "-o", "/tmp/x.png", "--server", server]);
        let code = generate.exit(SOON).await.code();
        let log = generate.log();
        assert!(matches!(code, Some(2 | 3)) && log.contains(named), "{server}: {code:?} {log}");
        assert!(!log.contains("secret"), "{log}");
    }
}
