//! Headers of every response, CORS, and limits of streams.

use std::time::Duration;

use glimpse_api::Config;

use crate::support::Stack;

#[tokio::test]
async fn every_answer_has_an_id_and_may_be_read_from_any_page() {
    let stack = Stack::start().await;
    for path in
        ["/", "/playground/page.js", "/health/live", "/health/ready", "/v1/apps", "/v1/models", "/nowhere"]
    {
        let answer = stack.get(path).await;
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(id.len(), 36, "{path}");
        assert_eq!(answer.header("x-fal-request-id"), Some(id), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-expose-headers"), Some("*"));
    }
}

#[tokio::test]
async fn any_origin_may_send_a_preflight() {
    let stack = Stack::start().await;
    for path in ["/glimpse/demo/stream", "/v1/jobs", "/nowhere"] {
        let answer = stack.ask("OPTIONS", path, "").await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-methods"), Some("*"));
        let headers = "*,authorization,content-type,x-fal-target-url";
        assert_eq!(answer.header("access-control-allow-headers"), Some(headers));
        assert!(answer.header("x-fal-request-id").is_some());
    }
}

#[tokio::test]
async fn error_responses_may_be_read_from_any_page() {
    let stack = Stack::start().await;
    let too_large = vec![b' '; 17 << 20];
    for (path, body, status) in [
        ("/v1/jobs", &too_large[..], 413),
        ("/glimpse/demo", b"{", 422),
        ("/no/body", b"", 404),
        ("/", b"", 405),
    ] {
        let answer = stack.client().await.ask("POST", path, &[], body).await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (status, Some("*")),
            "{path}"
        );
        assert_eq!(answer.header("x-fal-request-id").unwrap().len(), 36);
    }
}

#[tokio::test]
async fn an_answer_has_an_id_of_ours_whatever_the_client_sends() {
    let stack = Stack::start().await;
    let answer = stack.client().await.ask("GET", "/health/live", &[("x-fal-request-id", "mine")], b"").await;
    assert_eq!(answer.header("x-fal-request-id").unwrap().len(), 36);
}

#[tokio::test]
async fn no_page_may_read_what_is_for_operators() {
    let stack = Stack::start().await;
    for (method, path, status) in [
        ("GET", "/v1/workers", 200),
        ("GET", "/v1/dead", 200),
        ("OPTIONS", "/v1/workers", 405),
        ("OPTIONS", "/v1/dead", 405),
        ("POST", "/v1/dead/x/retry", 404),
    ] {
        let answer = stack.ask(method, path, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{method} {path}");
        assert!(answer.header("x-fal-request-id").is_some());
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    let body = vec![b' '; 17 << 20];
    assert_eq!(client.ask("POST", "/v1/jobs", &[], &body).await.status, 413);
    assert_eq!(client.ask("POST", "/v1/jobs", &[], b"{").await.status, 422);
    assert_eq!(client.ask("GET", "/health/live", &[], b"").await.status, 200);
}

#[tokio::test]
async fn the_page_runs_only_its_own_script() {
    let stack = Stack::start().await;
    let page = stack.get("/").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!page.text().contains("<script>") && !page.text().contains("style="), "the policy forbids it");
    for file in ["/playground/page.js", "/playground/style.css"] {
        assert!(page.text().contains(file));
        assert_eq!(stack.get(file).await.status, 200);
    }
}

#[tokio::test]
async fn the_page_loads_every_file_of_its_folder_and_no_other() {
    let stack = Stack::start().await;
    let mut paths = vec!["/".to_owned()];
    let mut seen = 0;
    while let Some(path) = paths.get(seen).cloned() {
        seen += 1;
        let answer = stack.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        let kind = match path.rsplit_once('.') {
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(!policy.contains("unsafe") && policy.contains("connect-src 'self'"), "{path}: {policy}");
        let text = answer.text();
        assert!(!text.contains("://"), "{path} names another server");
        for name in text.split('"').filter(|piece| piece.starts_with("/playground/")) {
            if paths.iter().all(|known| known != name) {
                paths.push(name.to_owned());
            }
        }
    }
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/playground")).unwrap();
    assert_eq!(paths.len(), folder.count(), "the page itself is one of the files");
    assert_eq!(stack.get("/playground/none.js").await.status, 404);
}

#[tokio::test]
async fn more_streams_than_the_operator_allows_are_429() {
    let stack = Stack::with(Config { max_streams: 2, ..Config::default() }).await;
    let id = stack.submit("a heart").await;
    let path = format!("/v1/jobs/{id}/events");
    let first = stack.client().await.stream("GET", &path, &[], "").await;
    let second = stack.client().await.stream("GET", &path, &[], "").await;
    for (method, path) in [("GET", &*path), ("POST", "/glimpse/demo/stream")] {
        let answer = stack.ask(method, path, r#"{"prompt":"a heart"}"#).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("10")));
    }
    // A client that waits for its pictures counts too.
    let answer = stack.post("/glimpse/demo", r#"{"prompt":"a heart"}"#).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("10")));
    drop((first, second));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while stack.client().await.ask("HEAD", &path, &[], b"").await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "ended streams still count");
    }
}

#[tokio::test]
async fn clients_that_wait_for_pictures_count_as_streams() {
    let stack = Stack::with(Config { max_streams: 2, ..Config::default() }).await;
    let mut waiting = Vec::new();
    let mut worker = stack.worker();
    for _ in 0..2 {
        let mut client = stack.client().await;
        client.request("POST", "/glimpse/demo", &[], br#"{"prompt":"a heart"}"#).await;
        waiting.push((client, worker.claim().await));
    }
    for path in ["/glimpse/demo", "/glimpse/demo/stream"] {
        let answer = stack.post(path, r#"{"prompt":"a heart"}"#).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("10")), "{path}");
    }
    for (mut client, lease) in waiting {
        worker.complete(lease).await;
        assert_eq!(client.answer("POST").await.status, 200);
    }
    let _worker = stack.diligent_worker();
    assert_eq!(stack.post("/glimpse/demo", r#"{"prompt":"a heart"}"#).await.status, 200);
}

#[tokio::test]
async fn many_clients_follow_one_job() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    let path = format!("/v1/jobs/{id}/events");
    let mut streams = Vec::new();
    for _ in 0..200 {
        let mut stream = stack.client().await.stream("GET", &path, &[], "").await;
        assert_eq!(stream.block().await.unwrap(), "retry: 1000");
        assert!(stream.block().await.unwrap().starts_with("id: 1\n"));
        streams.push(stream);
    }
    let mut lease = worker.claim().await;
    worker.preview(&mut lease, 0).await;
    for stream in &mut streams {
        assert!(stream.block().await.unwrap().starts_with("id: 2\n"));
        assert!(stream.block().await.unwrap().starts_with("id: 3\n"));
    }
    worker.complete(lease).await;
    for mut stream in streams {
        let rest = stream.rest().await;
        assert_eq!(rest.len(), 1);
        assert!(rest[0].starts_with("id: 4\nevent: completed\n"));
    }
}

/// Takes 15 s of real time.
#[tokio::test]
async fn a_silent_stream_gets_a_comment_every_fifteen_seconds() {
    let stack = Stack::start().await;
    let id = stack.submit("a heart").await;
    let mut native = stack.client().await.stream("GET", &format!("/v1/jobs/{id}/events"), &[], "").await;
    assert_eq!(native.block().await.unwrap(), "retry: 1000");
    assert!(native.block().await.unwrap().starts_with("id: 1\n"));
    let fal = stack.client().await;
    let fal = fal.stream("POST", "/glimpse/demo/stream", &[], r#"{"prompt":"a heart"}"#);
    let (comment, mut fal) = tokio::join!(native.block(), fal);
    assert_eq!(comment.unwrap(), ": keep-alive");
    assert_eq!(fal.block().await.unwrap(), ": keep-alive");
}

#[tokio::test]
async fn a_request_of_http1_names_one_host() {
    let stack = Stack::start().await;
    for (head, status) in [
        ("GET /health/live HTTP/1.1\r\n\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
        ("GET http://a/health/live HTTP/1.1\r\n\r\n", 400),
        ("GET http://a/health/live HTTP/1.1\r\nhost: b\r\n\r\n", 200),
    ] {
        let mut client = stack.client().await;
        client.send(head.as_bytes()).await.unwrap();
        let answer = client.answer("GET").await;
        assert_eq!(answer.status, status, "{head}: {}", answer.text());
        assert!(answer.header("x-request-id").is_some());
    }
    // The host of the target counts, here for the queue and for absolute addresses.
    let body = r#"{"prompt":"a heart"}"#;
    for (target, host) in
        [("http://queue.example", "other.example"), ("http://other.example/queue", "queue.example")]
    {
        let mut client = stack.client().await;
        let head = format!(
            "POST {target}/glimpse/demo HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(head.as_bytes()).await.unwrap();
        let answer = client.answer("POST").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let url = answer.json()["status_url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&format!("{target}/glimpse/demo/requests/")), "{url}");
    }
}
