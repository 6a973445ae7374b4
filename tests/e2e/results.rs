//! Results that are kept in a directory and in a bucket, by real processes.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::stack::{Process, SOON, Sse, client, json as data, picture};
use glimpse_test_support::RedisServer;
use serde_json::{Value, json};

const PYTHON: &str = "tests/sdk/.venv/bin/python";
/// What an API adds to the time to live, and its passes.
const MARGIN: Duration = Duration::from_secs(15);

/// Waits until a condition is true.
async fn until(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < within, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All files and folders below a folder.
fn everything(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            found.extend(everything(&entry.path()));
        }
    }
    found
}

fn files(folder: &Path) -> Vec<String> {
    everything(folder).into_iter().filter(|path| Path::new(path).is_file()).collect()
}

async fn loads(url: &Value) -> image::RgbImage {
    let answer = client().get(url.as_str().expect("a URL")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    assert_eq!(answer.headers()["content-type"], "image/jpeg");
    assert!(answer.headers()["content-disposition"].to_str().unwrap().starts_with("inline; filename="));
    assert!(answer.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    image::load_from_memory(&answer.bytes().await.unwrap()).expect("a picture").to_rgb8()
}

async fn post(url: String, body: &Value) -> Value {
    let answer = client().post(url).json(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_in_a_directory_lives_for_its_time_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("results");
    let ttl = Duration::from_secs(8);
    let args = ["serve", "--listen", "127.0.0.1:0", "--results-ttl", "8", "--results"];
    let mut server = Process::start("glimpse", &[&args[..], &[place.to_str().unwrap()]].concat());
    let address = server.address().await;
    let body = json!({ "prompt": "a heart", "seed": 1, "num_inference_steps": 2, "num_images": 2 });
    let run = post(format!("{address}/glimpse/demo"), &body).await;
    let told = Instant::now();
    let urls = [run["images"][0]["url"].clone(), run["images"][1]["url"].clone()];
    assert!(urls[0].as_str().unwrap().starts_with(&format!("{address}/files/")), "{run}");
    assert_eq!(loads(&urls[0]).await.dimensions(), (128, 128));
    assert_ne!(loads(&urls[1]).await, loads(&urls[0]).await);
    let part = client().get(urls[0].as_str().unwrap()).header("range", "bytes=0-1").send().await.unwrap();
    assert_eq!((part.status().as_u16(), &part.bytes().await.unwrap()[..]), (206, &[0xff, 0xd8][..]));

    // A data URI all the same.
    let mut inline = body.clone();
    inline["sync_mode"] = json!(true);
    let inline = post(format!("{address}/glimpse/demo"), &inline).await;
    assert_eq!(picture(&inline["images"][0]["url"]), loads(&urls[0]).await);

    // The command-line client has the same picture.
    let out = folder.path().join("heart.jpg");
    let args = ["generate", "a heart", "--seed", "1", "--steps", "2", "--num-images", "2"];
    let rest = ["--server", &address, "--output", out.to_str().unwrap()];
    let mut generate = Process::start("glimpse", &[&args[..], &rest].concat());
    assert!(generate.exit(SOON).await.success(), "{}", generate.log());
    for (number, url) in [(1, &urls[0]), (2, &urls[1])] {
        let file = std::fs::read(folder.path().join(format!("heart-{number}.jpg"))).unwrap();
        assert_eq!(image::load_from_memory(&file).unwrap().to_rgb8(), loads(url).await);
    }

    tokio::time::sleep((ttl - Duration::from_millis(200)).saturating_sub(told.elapsed())).await;
    loads(&urls[0]).await;
    until("the deletion", ttl + MARGIN, async || everything(&place).is_empty()).await;
    let gone = client().get(urls[0].as_str().unwrap()).send().await.unwrap();
    assert_eq!(
        (gone.status().as_u16(), gone.json::<Value>().await.unwrap()["detail"].is_string()),
        (404, true)
    );
}

fn worker(redis: &RedisServer, place: &Path) -> Process {
    let url = redis.url();
    let args = ["--redis-url", &url, "--model", "models/demo", "--app", "glimpse/demo", "--device", "cpu"];
    let kept = ["--results", place.to_str().unwrap(), "--results-ttl", "20"];
    Process::start("glimpse-worker", &[&args[..], &kept].concat())
}

/// A worker is killed between the write of its picture and the end of its job: Redis is frozen in the meantime. Its
/// picture is nobody's, and is deleted all the same. The other worker's is told and there.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_after_the_write_leaves_nothing_and_no_dead_url() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let redis = RedisServer::start();
    let kept = ["--results", place.to_str().unwrap(), "--results-ttl", "20"];
    let (url, listen) = (redis.url(), ["--listen", "127.0.0.1:0"]);
    let mut api = Process::start("glimpse-api", &[&["--redis-url", &url][..], &listen, &kept].concat());
    let address = api.address().await;
    let mut first = worker(&redis, place);
    let workers = format!("{address}/v1/workers");
    until("a worker", SOON, async || {
        let seen: Value = client().get(&workers).send().await.unwrap().json().await.unwrap();
        seen["workers"].as_array().is_some_and(|workers| !workers.is_empty())
    })
    .await;

    let body = json!({ "app": "glimpse/demo", "prompt": "a heart", "seed": 1, "num_inference_steps": 20,
        "preview_every": 0 });
    let job = post(format!("{address}/v1/jobs"), &body).await;
    let id = job["id"].as_str().unwrap();
    let mut events = Sse::open(client().get(format!("{address}/v1/jobs/{id}/events"))).await;
    while events.next().await.expect("a start").event != "started" {}
    redis.pause();
    until("the write", SOON, async || !files(place).is_empty()).await;
    first.signal("KILL");
    first.exit(SOON).await;
    let orphans = files(place);
    redis.resume();

    let _second = worker(&redis, place);
    let end = loop {
        let event = events.next().await.expect("an end");
        if event.event == "completed" {
            break data(&event);
        }
    };
    let told = Instant::now();
    let url = &end["images"][0]["url"];
    assert_eq!(loads(url).await.dimensions(), (128, 128));
    let name = url.as_str().unwrap().rsplit('/').next().unwrap();
    // The frozen server may have executed the first worker's finish: then its picture is the told one, and is there.
    let again: Value =
        client().get(format!("{address}/v1/jobs/{id}")).send().await.unwrap().json().await.unwrap();
    assert!(again["result"]["images"][0]["url"].as_str().unwrap().ends_with(name), "{again}");
    assert!(!orphans.is_empty());
    let ttl = Duration::from_secs(20);
    tokio::time::sleep((ttl - Duration::from_millis(500)).saturating_sub(told.elapsed())).await;
    loads(url).await;
    until("the deletion", ttl + MARGIN, async || everything(place).is_empty()).await;
}

/// An S3 server. Killed when dropped.
struct S3 {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl S3 {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let process = Command::new(PYTHON)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{PYTHON}: {error}; scripts/test installs it"));
        let mut server = Self { process, address: String::new(), _folder: folder };
        until("an S3 server", SOON, async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let line = said.lines().find_map(|line| line.split_once("Running on "));
            server.address = line.map(|(_, address)| address.trim().to_owned()).unwrap_or_default();
            !server.address.is_empty()
        })
        .await;
        server
    }

    fn env(&self) -> [(&str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.address),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// The names in the bucket; moto lets everyone read it.
    async fn objects(&self, bucket: &str) -> Vec<String> {
        let listed = client().get(format!("{}/{bucket}?list-type=2", self.address)).send().await.unwrap();
        let listed = listed.text().await.unwrap();
        let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        keys.map(|(key, _)| key.to_owned()).collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_in_a_bucket_loads_and_is_deleted() {
    let s3 = S3::start().await;
    let created = client().put(format!("{}/pictures", s3.address)).send().await.unwrap();
    assert_eq!(created.status(), 200);
    let other = client().put(format!("{}/pictures/mine", s3.address)).body("mine").send().await.unwrap();
    assert_eq!(other.status(), 200);
    let args =
        ["serve", "--listen", "127.0.0.1:0", "--results", "s3://pictures/fleet/one", "--results-ttl", "8"];
    let mut server = Process::start_with("glimpse", &args, &s3.env());
    let address = server.address().await;
    assert_eq!(s3.objects("pictures").await, ["mine"], "the check leaves nothing");
    let body = json!({ "prompt": "a heart", "seed": 1, "num_inference_steps": 2 });
    let run = post(format!("{address}/glimpse/demo"), &body).await;
    let told = Instant::now();
    let url = &run["images"][0]["url"];
    assert!(url.as_str().unwrap().starts_with(&format!("{address}/files/")), "{run}");
    let objects = s3.objects("pictures").await;
    assert!(objects.len() == 2 && objects[0].starts_with("fleet/one/"), "{objects:?}");
    let shown = loads(url).await;
    assert_eq!(shown.dimensions(), (128, 128));

    let once = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let redirect = once.get(url.as_str().unwrap()).send().await.unwrap();
    assert_eq!(redirect.status(), 307);
    let location = redirect.headers()["location"].to_str().unwrap();
    assert!(location.starts_with(&s3.address) && location.contains("X-Amz-Signature="), "{location}");
    let head = once.head(url.as_str().unwrap()).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-type"].to_str().unwrap()),
        (200, "image/jpeg")
    );
    let part = client().get(url.as_str().unwrap()).header("range", "bytes=0-1").send().await.unwrap();
    assert_eq!((part.status().as_u16(), &part.bytes().await.unwrap()[..]), (206, &[0xff, 0xd8][..]));
    let page = client().get(&address).send().await.unwrap();
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains(&s3.address));

    let id = post(
        format!("{address}/v1/jobs"),
        &json!({ "app": "glimpse/demo", "prompt": "a heart", "seed": 1,
        "num_inference_steps": 2 }),
    )
    .await["id"]
        .clone();
    let id = id.as_str().unwrap();
    Sse::open(client().get(format!("{address}/v1/jobs/{id}/events"))).await.rest().await;
    let image = client().get(format!("{address}/v1/jobs/{id}/image")).send().await.unwrap();
    let image = image::load_from_memory(&image.bytes().await.unwrap()).unwrap().to_rgb8();
    assert_eq!(image, shown);

    let ttl = Duration::from_secs(8);
    tokio::time::sleep((ttl - Duration::from_millis(200)).saturating_sub(told.elapsed())).await;
    loads(url).await;
    until("the deletion", ttl + MARGIN, async || s3.objects("pictures").await == ["mine"]).await;
    assert_eq!(client().get(url.as_str().unwrap()).send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_written_ends_every_program_with_what_to_do() {
    let s3 = S3::start().await;
    let redis = RedisServer::start();
    let url = redis.url();
    let place = ["--results", "s3://no-such-bucket/x"];
    let model = ["--model", "models/demo", "--app", "glimpse/demo"];
    for (program, args) in [
        ("glimpse", ["serve", "--listen", "127.0.0.1:0"].to_vec()),
        ("glimpse-api", ["--redis-url", &url, "--listen", "127.0.0.1:0"].to_vec()),
        ("glimpse-worker", [&["--redis-url", &url][..], &model].concat()),
    ] {
        let mut process = Process::start_with(program, &[&args[..], &place].concat(), &s3.env());
        assert_eq!(process.exit(SOON).await.code(), Some(2), "{program}: {}", process.log());
        let log = process.log();
        assert!(
            log.contains("--results s3://no-such-bucket/x: cannot write") && log.contains("AWS_"),
            "{log}"
        );
    }
}

/// `run`, `subscribe` and `stream` get URLs that load; `sync_mode` gets a data URI.
#[tokio::test(flavor = "multi_thread")]
async fn fals_client_gets_urls_that_load() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0", "--results", place]);
    let address = server.address().await;
    let run = Command::new(PYTHON)
        .args(["tests/sdk/fal_results.py", &address])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("{PYTHON}: {error}; scripts/test installs it"));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let seen: Value = serde_json::from_slice(&run.stdout).expect("one JSON object");
    let files = format!("{address}/files/");
    for call in ["run", "subscribed", "streamed"] {
        let answer = &seen[call];
        assert!(answer["url"].as_str().unwrap().starts_with(&files), "{call}: {answer}");
        assert_eq!((&answer["status"], &answer["type"]), (&json!(200), &json!("image/jpeg")), "{call}");
        assert_eq!(answer["sha256"], seen["sync_mode"]["sha256"], "{call}: the same picture");
    }
    assert!(seen["sync_mode"]["url"].as_str().unwrap().starts_with("data:image/jpeg;base64,"));
}
