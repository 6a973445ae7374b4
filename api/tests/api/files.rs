//! Pictures that the fleet keeps in a directory: their URLs in all answers, and `GET /files/{name}`.

use std::{path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use glimpse_api::Config;
use glimpse_shared::{
    event::Image,
    id::{JobId, Micros},
    request::OutputFormat,
    results::{Name, Place, Results},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, SOON, Stack};

const PICTURE: &[u8] = b"the bytes of a picture";
const TTL: u64 = 3600;

/// An API that keeps results in a folder of its own.
struct Kept {
    stack: Stack,
    results: Results,
    folder: tempfile::TempDir,
}

impl Kept {
    async fn start() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let results = open(folder.path(), TTL).await;
        let config = Config { results: Some(results.clone()), ..config };
        Self { stack: Stack::with(config).await, results, folder }
    }

    /// A kept picture.
    async fn put(&self, bytes: &'static [u8]) -> Name {
        self.results.put(OutputFormat::Png, Bytes::from_static(bytes)).await.unwrap()
    }

    /// A worker that completes every job with kept pictures, as `glimpse-worker` does.
    fn work(&self) -> tokio::task::JoinHandle<()> {
        let (mut worker, results) = (self.stack.worker(), self.results.clone());
        tokio::spawn(async move {
            loop {
                let lease = worker.claim().await;
                let mut images = Vec::new();
                for number in 0..lease.job.spec.num_images() {
                    let bytes = Bytes::from(format!("picture {number}"));
                    images.push(image(&results.put(OutputFormat::Png, bytes).await.unwrap()));
                }
                worker.complete_with(lease, images).await;
            }
        })
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.stack.client().await.ask(method, path, headers, b"").await
    }
}

async fn open(folder: &Path, seconds: u64) -> Results {
    Results::open(Place::Directory(folder.to_owned()), Duration::from_secs(seconds)).await.unwrap()
}

fn image(name: &Name) -> Image {
    Image { url: name.url(), content_type: "image/png".to_owned(), width: 128, height: 128 }
}

#[tokio::test]
async fn a_kept_picture_is_served_whole_with_what_caches_need() {
    let kept = Kept::start().await;
    let name = kept.put(PICTURE).await;
    let path = format!("/files/{name}");
    let whole = kept.stack.get(&path).await;
    assert_eq!((whole.status, &whole.body[..]), (200, PICTURE));
    let expected = [
        ("content-type", "image/png".to_owned()),
        ("content-length", PICTURE.len().to_string()),
        ("content-disposition", format!("inline; filename=\"{name}\"")),
        ("accept-ranges", "bytes".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("cross-origin-resource-policy", "cross-origin".to_owned()),
    ];
    for (header, value) in expected {
        assert_eq!(whole.header(header), Some(&*value), "{header}");
    }
    let cache = whole.header("cache-control").unwrap();
    let age: u64 =
        cache.strip_prefix("public, max-age=").unwrap().strip_suffix(", immutable").unwrap().parse().unwrap();
    assert!((TTL..=TTL + 360).contains(&age), "{cache}");

    let head = kept.stack.ask("HEAD", &path, "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for header in ["content-type", "content-length", "cache-control", "content-disposition", "etag"] {
        assert_eq!(head.header(header), whole.header(header), "{header}");
    }

    let etag = whole.header("etag").expect("an etag").to_owned();
    let known = kept.ask("HEAD", &path, &[("if-none-match", &etag)]).await;
    assert_eq!(known.status, 304);
    let modified = whole.header("last-modified").unwrap().to_owned();
    assert_eq!(kept.ask("HEAD", &path, &[("if-modified-since", &modified)]).await.status, 304);
    assert_eq!(kept.ask("GET", &path, &[("if-none-match", "\"other\"")]).await.body, PICTURE);

    let page = kept.ask("GET", &path, &[("origin", "https://example.com")]).await;
    assert_eq!(page.header("access-control-allow-origin"), Some("*"));
    assert_eq!(kept.ask("GET", &path, &[("host", "queue.localhost")]).await.body, PICTURE);
    assert_eq!(kept.stack.post(&path, "").await.status, 405);
}

#[tokio::test]
async fn a_range_of_a_kept_picture_is_served() {
    let kept = Kept::start().await;
    let path = kept.put(PICTURE).await.url();
    let size = PICTURE.len();
    for (range, from, to) in [
        ("bytes=0-2", 0, 3),
        ("bytes=4-", 4, size),
        ("bytes=-7", size - 7, size),
        ("bytes=10-9999", 10, size),
        (&*format!("bytes={0}-{0}", size - 1), size - 1, size),
    ] {
        let part = kept.ask("GET", &path, &[("range", range)]).await;
        assert_eq!((part.status, &part.body[..]), (206, &PICTURE[from..to]), "{range}");
        let told = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(part.header("content-range"), Some(&*told), "{range}");
        assert_eq!(part.header("content-type"), Some("image/png"));
    }
    for range in [format!("bytes={size}-"), "bytes=9999-".to_owned(), "bytes=-0".to_owned()] {
        let refused = kept.ask("GET", &path, &[("range", &range)]).await;
        assert_eq!(refused.status, 416, "{range}");
        assert_eq!(refused.header("content-range"), Some(&*format!("bytes */{size}")), "{range}");
        assert!(refused.json()["detail"].is_string());
        assert_eq!(refused.header("cache-control"), None, "an error is not cached");
    }
    for range in [format!("bytes=0-{}", "9".repeat(30)), format!("bytes=-{}", "9".repeat(30))] {
        let all = kept.ask("GET", &path, &[("range", &range)]).await;
        assert_eq!((all.status, &all.body[..]), (206, PICTURE), "{range}");
        assert_eq!(all.header("content-range"), Some(&*format!("bytes 0-{}/{size}", size - 1)));
    }
    let huge = kept.ask("GET", &path, &[("range", &format!("bytes={}-", "9".repeat(30)))]).await;
    assert_eq!(huge.status, 416);
    for range in ["bytes=5-2", "bytes=0-1,3-4", "pages=0-2", "bytes=a-b", "bytes"] {
        let whole = kept.ask("GET", &path, &[("range", range)]).await;
        assert_eq!((whole.status, &whole.body[..]), (200, PICTURE), "{range}");
    }
    let head = kept.ask("HEAD", &path, &[("range", "bytes=0-2")]).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some(&*size.to_string())));
}

#[tokio::test]
async fn a_range_of_another_picture_is_the_whole_picture() {
    let kept = Kept::start().await;
    let path = kept.put(PICTURE).await.url();
    let whole = kept.stack.get(&path).await;
    let (etag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    for (known, status) in [
        (etag.to_owned(), 206),
        (modified.to_owned(), 206),
        (format!("W/{etag}"), 200),
        ("\"other\"".to_owned(), 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT".to_owned(), 200),
    ] {
        for (range, partial) in [("bytes=0-2", 206), ("bytes=9999-", 416)] {
            let answer = kept.ask("GET", &path, &[("range", range), ("if-range", &known)]).await;
            let expected = if status == 206 { partial } else { 200 };
            assert_eq!(answer.status, expected, "{known} {range}");
        }
    }
    let old = kept.ask("GET", &path, &[("if-match", "\"other\"")]).await;
    assert_eq!((old.status, old.header("cache-control")), (412, None));
}

#[tokio::test]
async fn nothing_else_is_served() {
    let kept = Kept::start().await;
    std::fs::write(kept.folder.path().join("secret.png"), b"secret").unwrap();
    let name = kept.put(PICTURE).await;
    let hour = name.as_str()[..11].to_owned();
    let unknown = Name::new(Micros::system(), OutputFormat::Png);
    let old = Name::new(Micros(1_600_000_000_000_000), OutputFormat::Png);
    for path in [
        "/files/secret.png".to_owned(),
        "/files/..%2fsecret.png".to_owned(),
        "/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd".to_owned(),
        "/files/..".to_owned(),
        "/files/%2fetc%2fpasswd".to_owned(),
        format!("/files/{hour}%2f{name}"),
        format!("/files/{hour}/{name}"),
        format!("/files/{hour}"),
        format!("/files/{name}%00"),
        format!("/files/{name}%231"),
        format!("/files/{}", name.as_str().to_uppercase()),
        format!("/files/{}.jpg", name.as_str().trim_end_matches(".png")),
        unknown.url(),
        old.url(),
        "/files/%ff".to_owned(),
        "/files".to_owned(),
    ] {
        let answer = kept.stack.get(&path).await;
        assert_eq!(answer.status, 404, "{path}: {:?}", answer.body);
        assert!(answer.json()["detail"].is_string(), "{path}");
    }
    let plain = Stack::start().await;
    assert_eq!(plain.get(&name.url()).await.status, 404, "an API without --results has no files");
}

#[cfg(test)]
/// Checks a URL of an answer: it begins with `base` and loads the picture `number`.
async fn check(kept: &Kept, url: &Value, base: &str, number: usize) {
    let url = url.as_str().unwrap();
    let path = url.strip_prefix(base).unwrap_or_else(|| panic!("{url} does not begin with {base}"));
    assert!(path.starts_with("/files/"), "{url}");
    assert_eq!(kept.stack.get(path).await.body, format!("picture {number}").into_bytes());
}

#[tokio::test]
async fn every_answer_has_urls_that_load_at_the_address_that_the_client_uses() {
    let kept = Kept::start().await;
    let _worker = kept.work();
    let body = json!({ "prompt": "a heart", "seed": 1, "num_images": 2 });
    for (headers, base) in [
        (vec![], "http://localhost".to_owned()),
        (vec![("host", "pictures.example:81")], "http://pictures.example:81".to_owned()),
        (
            vec![("host", "pictures.example"), ("x-forwarded-proto", "https")],
            "https://pictures.example".to_owned(),
        ),
    ] {
        let body = body.to_string();
        let run = kept.stack.client().await.ask("POST", "/glimpse/demo", &headers, body.as_bytes()).await;
        let (id, run) = (run.header("x-fal-request-id").unwrap().to_owned(), run.json());
        check(&kept, &run["images"][0]["url"], &base, 0).await;
        check(&kept, &run["images"][1]["url"], &base, 1).await;
        assert_eq!(run["image"], run["images"][0]);
        assert_eq!(run["image"]["content_type"], "image/png");

        let client = kept.stack.client().await;
        let mut stream = client.stream("POST", "/glimpse/demo/stream", &headers, &body).await;
        let events = stream.rest().await;
        let last: Value =
            serde_json::from_str(events.last().unwrap().strip_prefix("data: ").unwrap()).unwrap();
        check(&kept, &last["image"]["url"], &base, 0).await;
        check(&kept, &last["images"][1]["url"], &base, 1).await;

        let path = format!("/queue/glimpse/demo/requests/{id}");
        let result = kept.ask("GET", &path, &headers).await.json();
        assert_eq!(result["images"], run["images"]);
        let status = kept.ask("GET", &format!("/v1/jobs/{id}"), &headers).await.json();
        assert_eq!(status["result"]["images"], run["images"]);
        let client = kept.stack.client().await;
        let mut events = client.stream("GET", &format!("/v1/jobs/{id}/events"), &headers, "").await;
        let events = events.rest().await;
        let end = events.last().unwrap().lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(end).unwrap()["images"], run["images"]);

        for (query, number) in [("", 0), ("?index=0", 0), ("?index=1", 1)] {
            let image = kept.stack.get(&format!("/v1/jobs/{id}/image{query}")).await;
            assert_eq!(image.body, format!("picture {number}").into_bytes());
            assert_eq!(image.header("content-type"), Some("image/png"));
        }
        assert_eq!(kept.stack.get(&format!("/v1/jobs/{id}/image?index=2")).await.status, 404);
        let wrong = kept.stack.get(&format!("/v1/jobs/{id}/image?index=-1")).await;
        assert_eq!((wrong.status, &wrong.json()["detail"][0]["loc"]), (422, &json!(["query", "index"])));
    }
}

#[tokio::test]
async fn the_public_url_begins_every_url_of_a_picture() {
    let public_url = Some("https://example.com/pictures".parse().unwrap());
    let kept = Kept::with(Config { public_url, ..Config::default() }).await;
    let _worker = kept.work();
    let run = kept.stack.post("/glimpse/demo", r#"{"prompt":"a heart"}"#).await.json();
    check(&kept, &run["images"][0]["url"], "https://example.com/pictures", 0).await;
    let page = kept.stack.get("/").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("img-src 'self' data: blob: https://example.com;"), "{policy}");
}

#[tokio::test]
async fn an_api_without_results_says_so_when_a_worker_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let results = open(folder.path(), TTL).await;
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id: JobId = stack.submit("a heart").await;
    let lease = worker.claim().await;
    let name = results.put(OutputFormat::Png, Bytes::from_static(PICTURE)).await.unwrap();
    worker.complete_with(lease, vec![image(&name)]).await;
    for path in ["/v1/jobs/{id}", "/v1/jobs/{id}/image", "/queue/glimpse/demo/requests/{id}"] {
        let answer = stack.get(&path.replace("{id}", &id.to_string())).await;
        assert_eq!(answer.status, 500, "{path}");
        assert!(answer.text().contains("need the same --results"), "{path}: {}", answer.text());
    }
    let client = stack.client().await;
    let events = client.stream("GET", &format!("/v1/jobs/{id}/events"), &[], "").await.rest().await;
    let end = events.last().unwrap();
    assert!(end.contains("event: failed") && end.contains("need the same --results"), "{end}");
}

#[tokio::test]
async fn an_api_deletes_what_has_expired_also_without_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let results = open(folder.path(), 1).await;
    let old = Name::new(Micros(1_600_000_000_000_000), OutputFormat::Png);
    let hour = folder.path().join(&old.as_str()[..11]);
    std::fs::create_dir(&hour).unwrap();
    std::fs::write(hour.join(old.as_str()), PICTURE).unwrap();
    let told = results.put(OutputFormat::Png, Bytes::from_static(PICTURE)).await.unwrap();
    let config = Config { results: Some(results), ..Config::default() };
    // Two replicas, and none of them knows a job.
    let (one, _other) = (Stack::with(config.clone()).await, Stack::with(config).await);
    assert_eq!(one.get(&told.url()).await.status, 200);
    let deadline = Instant::now() + SOON;
    while std::fs::read_dir(folder.path()).unwrap().next().is_some() {
        assert!(Instant::now() < deadline, "something is left behind");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(Micros::system().since(told.written()) >= Duration::from_secs(1), "it lived for its time");
    assert_eq!(one.get(&told.url()).await.status, 404);
}

#[tokio::test]
async fn openais_clients_get_the_file_in_base64_or_its_url() {
    let kept = Kept::start().await;
    let _worker = kept.work();
    let path = "/v1/images/generations";
    let whole = kept.stack.post(path, r#"{"prompt":"a heart","n":2}"#).await.json();
    for number in 0..2 {
        let file = STANDARD.decode(whole["data"][number]["b64_json"].as_str().unwrap()).unwrap();
        assert_eq!(file, format!("picture {number}").into_bytes());
    }
    assert_eq!(whole["size"], "128x128");
    let urls = kept.stack.post(path, r#"{"prompt":"a heart","n":2,"response_format":"url"}"#).await.json();
    for number in 0..2 {
        check(&kept, &urls["data"][number]["url"], "http://localhost", number).await;
    }
    let client = kept.stack.client().await;
    let events = client.stream("POST", path, &[], r#"{"prompt":"a heart","stream":true}"#).await.rest().await;
    let last = events.last().unwrap().lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(STANDARD.decode(last["b64_json"].as_str().unwrap()).unwrap(), b"picture 0");
}
