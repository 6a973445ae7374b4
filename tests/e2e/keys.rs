//! Keys, with the real programs: the rule about listening, `glimpse key`, a server that reads its keys again.

use std::{fs, process::Command, time::Instant};

use glimpse_test_support::RedisServer;

use super::stack::{Process, SOON, binary, client};

/// A new key of `glimpse key NAME`, and its entry.
pub fn new_key(name: &str) -> (String, String) {
    let made = Command::new(binary("glimpse")).args(["key", name]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = String::from_utf8(made.stdout).unwrap();
    let (key, entry) = said.split_once("\n\n").unwrap();
    assert!(!entry.contains(key), "the entry has only the hash");
    (key.to_owned(), entry.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_nobody_listens_where_others_reach_it_unless_told_so() {
    let redis = RedisServer::start();
    let url = redis.url();
    let programs: [(&str, &[&str]); 3] =
        [("glimpse", &["serve"]), ("glimpse", &[]), ("glimpse-api", &["--redis-url", &url])];
    for (name, args) in programs {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let mut process = Process::start(name, &[args, &["--listen", address]].concat());
            let (status, log) = (process.exit(SOON).await, process.log());
            assert_eq!(status.code(), Some(2), "{name} {address}: {log}");
            assert!(log.contains("--keys-file") && log.contains("--allow-anonymous"), "{log}");
        }
    }
    let everywhere = ["--redis-url", &url, "--listen", "0.0.0.0:0", "--allow-anonymous"];
    let mut api = Process::start("glimpse-api", &everywhere);
    let address = api.address().await.replace("0.0.0.0", "127.0.0.1");
    for (path, status) in [("/health/live", 200), ("/v1/apps", 200), ("/v1/workers", 403), ("/v1/jobs", 403)]
    {
        let answer = client().get(format!("{address}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    let variable = [("GLIMPSE_ALLOW_ANONYMOUS", "true")];
    let mut api = Process::start_with("glimpse-api", &everywhere[..4], &variable);
    api.address().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_file_that_cannot_be_used_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("md5.toml"), "[[key]]\nname = \"x\"\nhash = \"md5:d41d8cd98f00b204e9800998ecf8427e\"\n")
        .unwrap();
    fs::write(path("plain.toml"), "[[key]]\nname = \"x\"\nhash = \"my-secret-key\"\n").unwrap();
    fs::write(path("no.toml"), "key").unwrap();
    for name in ["absent.toml", "md5.toml", "plain.toml", "no.toml"] {
        let file = path(name);
        let mut serve =
            Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0", "--keys-file", &file]);
        let (status, log) = (serve.exit(SOON).await, serve.log());
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(&file) && !log.contains("my-secret-key"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_makes_a_picture_and_a_removed_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let ((alice, first), (bob, second)) = (new_key("alice \"a\" \\"), new_key("bob"));
    fs::write(path("keys.toml"), first).unwrap();
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    let mut serve = Process::start_with("glimpse", &listen, &[("GLIMPSE_KEYS_FILE", &path("keys.toml"))]);
    let address = serve.address().await;
    let generate = |key: &str| {
        let size = ["--steps", "1", "--width", "64", "--height", "64", "--server", &address];
        let out = path("heart.png");
        let args = [&["generate", "a heart", "-o", &out][..], &size].concat();
        // An empty variable counts as not set.
        Process::start_with("glimpse", &args, &[("GLIMPSE_KEY", key)])
    };
    for (key, code) in [("", 2), ("wrong", 2), (&*bob, 2), (&*alice, 0)] {
        let mut made = generate(key);
        assert_eq!(made.exit(SOON).await.code(), Some(code), "{}", made.log());
        assert!(code == 0 || made.log().contains("GLIMPSE_KEY"), "{}", made.log());
        assert!(!made.log().contains(&alice) && !serve.log().contains(&alice));
    }
    fs::write(path("keys.toml"), second).unwrap();
    serve.signal("HUP");
    let begun = Instant::now();
    let apps = |key: &str| client().get(format!("{address}/v1/apps")).bearer_auth(key).send();
    while apps(&bob).await.unwrap().status() != 200 {
        assert!(begun.elapsed() < SOON, "{}", serve.log());
        tokio::task::yield_now().await;
    }
    assert_eq!(apps(&alice).await.unwrap().status(), 401);
}
