//! Starts with an invalid configuration: each program ends with exit code 2 and reports what to do. An empty
//! environment variable counts as not set.

use std::{collections::BTreeSet, process::Command, time::Duration};

use glimpse_test_support::{FakeRedis, RedisServer, Reply, shipped::shipped_server};

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
    let web = FakeRedis::that_replies("HTTP/1.1 400 Bad Request\r\n\r\n");
    let limited = FakeRedis::that_refuses("EVALSHA", "ERR Command is not available: EVALSHA");
    for (url, said) in [
        (format!("{}/16", server.url()), "no database 16"),
        (server.url().replace("redis://", "redis+cluster://"), "no cluster"),
        (server.url().replace("redis://", "rediss://"), "does not speak TLS"),
        (format!("{}?timeout=5", server.url()), "timeout"),
        (old.url(), "Redis 6.2.6"),
        (protected.url(), "protected mode"),
        (web.url(), "is not Redis"),
        (web.url().replace("redis://", "rediss://"), "is not Redis"),
        (limited.url(), "Command is not available: EVALSHA"),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_not_ready_while_it_cannot_claim() {
    let (server, url) = shipped_server();
    let args = [&["--redis-url", &url, "--listen", "127.0.0.1:0"][..], &WORKER].concat();
    let worker = Process::start("glimpse-worker", &args);
    until_log(&worker, "ready for jobs").await;
    let log = worker.log();
    let address = log.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let ready = format!("http://{address}/health/ready");
    let answer = || async {
        let answer = client().get(&ready).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(answer().await.0, 200);
    for (taken, given, named) in [
        ("-evalsha", "+evalsha", "evalsha"),
        ("-blpop", "+blpop", "BLPOP"),
        ("resetkeys", "~glimpse:*", "keys"),
    ] {
        server.ask(&["ACL", "SETUSER", "glimpse", taken]);
        let (status, body) = answer().await;
        assert!(
            status == 503 && body.contains("not ready") && body.contains(named),
            "{taken}: {status} {body}"
        );
        server.ask(&["ACL", "SETUSER", "glimpse", given]);
        assert_eq!(answer().await.0, 200, "{given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_may_delete_jobs_is_warned_of() {
    let evicts = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    for (args, warned) in [(&evicts[..], true), (&evicts[..2], false), (&evicts[2..], false)] {
        let server = RedisServer::start_with(args);
        let mut api =
            Process::start("glimpse-api", &["--redis-url", &server.url(), "--listen", "127.0.0.1:0"]);
        api.address().await;
        if warned {
            until_log(&api, "Set maxmemory-policy noeviction").await;
        }
        let count = api.log().matches("noeviction").count();
        assert_eq!(count, usize::from(warned), "{}", api.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cannot_be_used_is_refused_by_its_variables_name() {
    let generate = ["generate", "a heart", "-o", "/tmp/x.png", "--server", "http://127.0.0.1:1"];
    let worker =
        ["--redis-url", "redis://127.0.0.1:1", "--app", "glimpse/demo", "--device", "cpu", "--model", "a/b"];
    for (name, address) in [
        ("http_proxy", "socks5://secret@127.0.0.1:1"),
        ("HTTPS_PROXY", "proxy://127.0.0.1:1"),
        ("all_proxy", "http://127.0.0.1:1/secret"),
    ] {
        for (program, args) in [("glimpse", &generate[..]), ("glimpse-worker", &worker[..])] {
            let mut process = Process::start_with(program, args, &[(name, address)]);
            let code = process.exit(SOON).await.code();
            let log = process.log();
            assert_eq!(code, Some(2), "{program} {name}: {log}");
            assert!(log.contains(name) && !log.contains("secret"), "{program}: {log}");
        }
    }
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
        "http_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
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
        ("http://127.0.0.1:0", "port is 0"),
    ] {
        let mut generate =
            Process::start("glimpse", &["generate", "a heart", "-o", "/tmp/x.png", "--server", server]);
        let code = generate.exit(SOON).await.code();
        let log = generate.log();
        assert!(matches!(code, Some(2 | 3)) && log.contains(named), "{server}: {code:?} {log}");
        assert!(!log.contains("secret"), "{log}");
    }
}
