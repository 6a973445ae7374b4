//! SIGTERM and SIGINT at any time: the first one shuts a process down gracefully, the second one ends it at once.

use std::{
    fs::OpenOptions,
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use super::stack::{Process, SOON, Sse, client};
use glimpse_test_support::RedisServer;
use serde_json::{Value, json};

/// The timeout for the end of an idle process, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A server that accepts connections and never answers.
struct Silent {
    listener: TcpListener,
    open: Vec<TcpStream>,
}

impl Silent {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener, open: Vec::new() }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.listener.local_addr().unwrap())
    }

    /// Waits until the process connects and sends something.
    async fn is_spoken_to(&mut self, process: &Process) {
        let begun = std::time::Instant::now();
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                self.open.push(stream);
                return;
            }
            assert!(begun.elapsed() < SOON, "{} asks nothing: {}", process.name, process.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A process whose model is on a Hub that never answers.
async fn loading(name: &str, args: &[&str], home: &Path) -> (Process, Silent) {
    let mut hub = Silent::start();
    let (endpoint, home) = (hub.url("http"), home.display().to_string());
    let process = Process::start_with(name, args, &[("HF_ENDPOINT", &endpoint), ("HF_HOME", &home)]);
    hub.is_spoken_to(&process).await;
    (process, hub)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_loads_a_model_ends_at_the_first_signal() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out.png").display().to_string();
    let model = ["--model", "somebody/something"];
    let worker = [&model[..], &["--app", "glimpse/demo", "--redis-url", "redis://127.0.0.1:1"]].concat();
    let serve = [&["serve", "--listen", "127.0.0.1:0"], &model[..]].concat();
    let generate = [&["generate", "a heart", "-o", &out], &model[..]].concat();
    for (name, args, codes) in [
        ("glimpse-worker", worker, [("TERM", 0), ("INT", 0)]),
        ("glimpse", serve, [("TERM", 0), ("INT", 0)]),
        ("glimpse", generate, [("TERM", 143), ("INT", 130)]),
    ] {
        for (signal, code) in codes {
            let (mut process, _hub) = loading(name, &args, home.path()).await;
            process.signal(signal);
            assert_eq!(process.exit(AT_ONCE).await.code(), Some(code), "{args:?} at {signal}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generate_ends_at_the_first_signal_while_it_reads_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, out) = (folder.path().join("pipe.png"), folder.path().join("out.png"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let args = ["generate", "a heart", "-o", out.to_str().unwrap(), "--image", pipe.to_str().unwrap()];
        let mut process = Process::start("glimpse", &args);
        let pipe = pipe.clone();
        // Opened once the process reads it, and nothing is written.
        let _writer =
            tokio::task::spawn_blocking(|| OpenOptions::new().write(true).open(pipe)).await.unwrap().unwrap();
        process.signal(signal);
        assert_eq!(process.exit(AT_ONCE).await.code(), Some(code), "{}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_redis_ends_at_the_first_signal() {
    let mut redis = Silent::start();
    let url = redis.url("redis");
    let args = ["--redis-url", &url, "--model", "models/demo", "--app", "glimpse/demo", "--device", "cpu"];
    let mut worker = Process::start("glimpse-worker", &args);
    redis.is_spoken_to(&worker).await;
    worker.signal("TERM");
    assert_eq!(worker.exit(AT_ONCE).await.code(), Some(0), "{}", worker.log());
}

/// A request that takes a CPU long.
fn long() -> Value {
    json!({ "app": "glimpse/demo", "prompt": "a heart", "num_inference_steps": 50, "width": 1024, "height": 1024,
        "preview_every": 1 })
}

/// Waits until a process has logged something.
async fn until_logged(process: &Process, what: &str) {
    let begun = std::time::Instant::now();
    while !process.log().contains(what) {
        assert!(begun.elapsed() < SOON, "{} never logs {what:?}: {}", process.name, process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_worker_and_an_api_at_once() {
    let redis = RedisServer::start();
    let mut api = Process::start("glimpse-api", &["--redis-url", &redis.url(), "--listen", "127.0.0.1:0"]);
    let address = api.address().await;
    let url = redis.url();
    let args = ["--redis-url", &url, "--model", "models/demo", "--app", "glimpse/demo", "--device", "cpu"];
    let mut worker = Process::start("glimpse-worker", &args);
    until_logged(&worker, "ready for jobs").await;
    let mut request = long();
    request.as_object_mut().unwrap().remove("app");
    // The first signal: the API serves this client until the end of the grace, and the worker finishes the job.
    let mut stream = Sse::open(client().post(format!("{address}/glimpse/demo/stream")).json(&request)).await;
    stream.next().await.expect("a preview");

    for (process, code) in [(&mut worker, 130), (&mut api, 143)] {
        process.signal("TERM");
        until_logged(process, if code == 130 { "draining" } else { "shutting down" }).await;
        process.signal(if code == 130 { "INT" } else { "TERM" });
        assert_eq!(process.exit(AT_ONCE).await.code(), Some(code), "{}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_serve_at_once() {
    let mut serve = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0", "--device", "cpu"]);
    let address = serve.address().await;
    let submitted = client().post(format!("{address}/v1/jobs")).json(&long()).send().await.unwrap();
    assert_eq!(submitted.status(), 202);
    until_logged(&serve, "job claimed").await;
    serve.signal("INT");
    until_logged(&serve, "draining").await;
    serve.signal("INT");
    assert_eq!(serve.exit(AT_ONCE).await.code(), Some(130), "{}", serve.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_generate_at_once() {
    let mut server = Silent::start();
    let url = server.url("http");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png").display().to_string();
    let args = ["generate", "a heart", "-o", &out, "--server", &url, "--app", "glimpse/demo"];
    let mut client = Process::start("glimpse", &args);
    server.is_spoken_to(&client).await;
    // The server may have the job: after the first signal the client waits for its id to cancel it.
    client.signal("INT");
    until_logged(&client, "cancelling the job").await;
    client.signal("TERM");
    assert_eq!(client.exit(AT_ONCE).await.code(), Some(143), "{}", client.log());
}
