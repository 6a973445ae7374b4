//! Helpers of the end-to-end tests: processes of the workspace's programs, and an SSE client.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use eventsource_stream::{Event, EventStream, Eventsource};
use futures::{StreamExt, stream::BoxStream};
use glimpse_test_support::programs;
use serde_json::Value;
use tempfile::TempDir;

pub use glimpse_test_support::programs::SOON;

/// The path of a program of the workspace; builds it if it is old.
pub fn binary(name: &str) -> PathBuf {
    match (env!("CARGO_BIN_EXE_glimpse"), name) {
        // Cargo has built the programs of this package.
        (own, "glimpse") => own.into(),
        // An example, which tests/chaos uses too.
        (own, "scripted_worker") => programs::example(own, "scripted_worker"),
        (own, package) => programs::program(own, package),
    }
}

/// A running process of ours. Killed when dropped.
pub struct Process {
    pub name: String,
    child: Child,
    out: PathBuf,
    log: PathBuf,
    _folder: TempDir,
}

impl Process {
    /// Starts a binary from the repository's root.
    pub fn start(name: &str, args: &[&str]) -> Self {
        Self::start_with(name, args, &[])
    }

    /// Starts a binary with these environment variables too.
    pub fn start_with(name: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (out, log) = (folder.path().join("out"), folder.path().join("log"));
        let child = Command::new(binary(name))
            .args(args)
            .envs(env.iter().copied())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { name: name.to_owned(), child, out, log, _folder: folder }
    }

    /// The address of the line `listening on http://ADDR`, as `http://ADDR`.
    pub async fn address(&mut self) -> String {
        let begun = Instant::now();
        loop {
            let out = std::fs::read_to_string(&self.out).unwrap();
            if let Some(line) = out.lines().find(|_| out.ends_with('\n')) {
                return line
                    .strip_prefix("listening on ")
                    // With a certificate also `and https://ADDR`.
                    .and_then(|urls| urls.split(' ').next())
                    .expect("the line is `listening on URL`")
                    .to_owned();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status}: {}", self.name, self.log());
            }
            assert!(begun.elapsed() < SOON, "{} does not listen: {}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -SIGNAL`.
    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    pub async fn exit(&mut self, within: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < within, "{} does not end: {}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        programs::resident(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name, self.log());
        }
    }
}

/// Waits until a process has logged these words.
pub async fn until_log(process: &Process, words: &str) {
    let begun = Instant::now();
    while !process.log().contains(words) {
        assert!(begun.elapsed() < SOON, "{} does not log {words:?}: {}", process.name, process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client with a long timeout.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A body being read event by event.
pub struct Sse {
    /// `X-Fal-Request-Id`: on fal's routes the job's id.
    pub request_id: String,
    events: EventStream<BoxStream<'static, reqwest::Result<bytes::Bytes>>>,
}

impl Sse {
    pub async fn open(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{status}: {}", response.text().await.unwrap_or_default());
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        let request_id = response.headers()["x-fal-request-id"].to_str().unwrap().to_owned();
        Self { request_id, events: response.bytes_stream().boxed().eventsource() }
    }

    /// The next event; `None` at the end of the body.
    pub async fn next(&mut self) -> Option<Event> {
        let event = tokio::time::timeout(SOON, self.events.next())
            .await
            .expect("an event or an end within the deadline");
        event.map(|event| event.expect("an unbroken stream"))
    }

    /// Every event up to the end of the body.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

pub fn json(event: &Event) -> Value {
    serde_json::from_str(&event.data).expect("JSON data")
}

/// The picture of a data URI.
pub fn picture(url: &Value) -> image::RgbImage {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let url = url.as_str().expect("a URL");
    let (head, data) = url.split_once(";base64,").expect("a data URI");
    assert_eq!(head, "data:image/jpeg");
    image::load_from_memory(&STANDARD.decode(data).unwrap()).expect("a picture").to_rgb8()
}

/// Mean absolute difference of two pictures, 0 to 255.
pub fn distance(one: &image::RgbImage, other: &image::RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 = one.as_raw().iter().zip(other.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.as_raw().len() as f64
}
