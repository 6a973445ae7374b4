//! Keys: who is let in, what a key is for, and whose jobs it sees.

use std::{fmt::Write as _, io::Write as _, sync::Arc};

use glimpse_api::Config;
use glimpse_shared::store::{Clock, redis::RedisStore};
use glimpse_test_support::RedisServer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::support::{Answer, SOON, Stack, demo, record};

const BODY: &str = r#"{"app":"glimpse/demo","prompt":"a heart","seed":7}"#;

/// The entry of the key `NAME-key`.
fn entry(name: &str, more: &str) -> String {
    let mut hash = String::new();
    for byte in Sha256::digest(format!("{name}-key")) {
        write!(hash, "{byte:02x}").unwrap();
    }
    format!("[[key]]\nname = {name:?}\nhash = \"sha256:{hash}\"\n{more}\n")
}

/// Two tenants, an operator, and one who is both.
fn usual() -> String {
    let admin = "scopes = [\"admin\"]";
    [
        entry("alice", "scopes = [\"jobs\"]"),
        entry("bob", ""),
        entry("root", admin),
        entry("both", "scopes = [\"jobs\", \"admin\"]"),
    ]
    .concat()
}

fn file(keys: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(keys.as_bytes()).unwrap();
    file
}

fn config(file: &NamedTempFile, origins: &[&str]) -> Config {
    let mut config = Config::default();
    config.keys.keys_file = Some(file.path().to_owned());
    config.keys.cors_origin = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    config
}

/// An API with keys. The file is needed only at the start, and for a reload.
async fn with_keys(keys: &str) -> Stack {
    let file = file(keys);
    let stack = Stack::with(config(&file, &[])).await;
    // An answer shows that the file was read.
    assert_eq!(stack.client().await.ask("GET", "/health/live", &[], b"").await.status, 200);
    stack
}

#[cfg(test)]
impl Stack {
    /// A request with the key `NAME-key`.
    async fn by(&self, name: &str, method: &str, path: &str, body: &str) -> Answer {
        let key = format!("Bearer {name}-key");
        self.client().await.ask(method, path, &[("authorization", &key)], body.as_bytes()).await
    }

    async fn submit_by(&self, name: &str) -> String {
        let answer = self.by(name, "POST", "/v1/jobs", BODY).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

/// Every method and path of the document, and whether it needs a key.
fn routes() -> Vec<(String, String, bool)> {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needs_key = operation.get("security").is_some();
            routes.push((method.to_uppercase(), path.clone(), needs_key));
        }
    }
    assert!(routes.len() > 30, "{routes:?}");
    routes
}

#[tokio::test]
async fn every_route_without_a_right_key_is_401_but_the_public_ones() {
    let stack = with_keys(&usual()).await;
    let wrong: [&[(&str, &str)]; 7] = [
        &[],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Key alice")],
        &[("authorization", "Basic alice-key")],
        &[("authorization", "Bearer")],
        &[("authorization", "alice-key")],
        &[("authorization", "Bearer alice-key"), ("authorization", "Bearer wrong")],
    ];
    let public = |path: &str| {
        let folders = ["/health", "/docs", "/playground/", "/files/"];
        matches!(path, "/" | "/openapi.json" | "/.well-known/jwks.json" | "/metrics")
            || folders.iter().any(|folder| path.starts_with(folder))
    };
    for (method, path, needs_key) in routes() {
        assert_eq!(needs_key, !public(&path), "{method} {path}");
        let path = path.replace(['{', '}'], "");
        for headers in wrong {
            let body = if method == "POST" { BODY } else { "" };
            let answer = stack.client().await.ask(&method, &path, headers, body.as_bytes()).await;
            let (refused, what) = (answer.status == 401, format!("{method} {path} {headers:?}"));
            assert_eq!(refused, needs_key, "{what}: {}", answer.status);
            assert_eq!(answer.header("www-authenticate").is_some(), refused, "{what}");
            if refused {
                assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer "));
                assert_eq!(answer.header("access-control-allow-origin"), None, "{what}");
                assert_eq!(answer.header("x-request-id").unwrap().len(), 36);
            }
        }
    }
    // Also what is no route, and a body that is too large.
    assert_eq!(stack.get("/nowhere").await.status, 401);
    assert_eq!(stack.by("alice", "GET", "/nowhere", "").await.status, 404);
    assert_eq!(stack.post("/v1/jobs", &" ".repeat(17 << 20)).await.status, 401);
    let openais = stack.get("/v1/models").await;
    assert_eq!((openais.status, &openais.json()["error"]["code"]), (401, &json!("invalid_api_key")));
}

#[tokio::test]
async fn a_right_key_comes_with_either_scheme_in_any_case() {
    let stack = with_keys(&usual()).await;
    for scheme in ["Key", "Bearer", "key", "BEARER"] {
        let key = format!("{scheme} alice-key");
        let answer = stack.client().await.ask("GET", "/v1/apps", &[("authorization", &key)], b"").await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
    // Without keys a key is ignored.
    let open = Stack::start().await;
    assert_eq!(open.by("alice", "GET", "/v1/apps", "").await.status, 200);
}

#[tokio::test]
async fn a_key_is_for_its_scopes_alone() {
    let stack = with_keys(&usual()).await;
    for (method, path) in [("GET", "/v1/workers"), ("GET", "/v1/dead"), ("POST", "/v1/dead/x/retry")] {
        let refused = stack.by("alice", method, path, "").await;
        assert_eq!(refused.status, 403, "{method} {path}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("scope admin"));
        assert_ne!(stack.by("root", method, path, "").await.status, 403, "{method} {path}");
        assert_ne!(stack.by("both", method, path, "").await.status, 403, "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/apps"),
        ("POST", "/glimpse/demo"),
        ("GET", "/v1/models"),
    ] {
        let refused = stack.by("root", method, path, BODY).await;
        assert_eq!(refused.status, 403, "{method} {path}");
        assert!(refused.text().contains("scope jobs"), "{}", refused.text());
    }
    // With keys the list needs no loopback address.
    let keys = file(&usual());
    let config = config(&keys, &[]);
    let far = Stack::at("0.0.0.0:0", stack.store.clone(), config, stack.clock.clone()).await;
    let near = std::net::SocketAddr::from(([127, 0, 0, 1], far.address.port()));
    let key = [("authorization", "Key both-key"), ("host", "pictures.example")];
    for path in ["/v1/jobs", "/v1/dead", "/v1/workers"] {
        let answer = crate::support::Client::connect(near).await.ask("GET", path, &key, b"").await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn without_keys_operators_routes_are_for_this_machine_alone() {
    let stack = Stack::start().await;
    let far = Stack::at("0.0.0.0:0", stack.store.clone(), Config::default(), stack.clock.clone()).await;
    let near = std::net::SocketAddr::from(([127, 0, 0, 1], far.address.port()));
    for (path, status) in
        [("/v1/workers", 403), ("/v1/dead", 403), ("/v1/jobs", 403), ("/v1/apps", 200), ("/v1/models", 200)]
    {
        let answer = crate::support::Client::connect(near).await.ask("GET", path, &[], b"").await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(stack.get(path).await.status, 200, "{path}");
    }
}

/// What a client can tell of an answer, but for the ids in it.
fn told(answer: &Answer, id: &str) -> (u16, String, Vec<Option<String>>) {
    let names = ["content-type", "content-length", "retry-after", "location", "cache-control"];
    let headers = names.map(|name| answer.header(name).map(str::to_owned)).into_iter();
    let own_id = answer.header("x-request-id") == Some(id);
    let text = String::from_utf8_lossy(&answer.body).replace(id, "ID");
    (answer.status, text, headers.chain([Some(own_id.to_string())]).collect())
}

/// The routes about one job, with `{id}` in them.
fn routes_of_a_job() -> Vec<(String, String)> {
    let routes = routes().into_iter().filter(|(_, path, _)| {
        path.contains("{id}") && !path.starts_with("/v1/dead") && !path.starts_with("/v1/models")
    });
    let named =
        routes.map(|(method, path, _)| (method, path.replace("{owner}", "glimpse").replace("{app}", "demo")));
    let named: Vec<_> = named.collect();
    assert_eq!(named.len(), 9, "{named:?}");
    named
}

#[tokio::test]
async fn another_tenants_job_is_answered_as_an_unknown_one() {
    let stack = with_keys(&usual()).await;
    let running = stack.submit_by("alice").await;
    let mut worker = stack.worker();
    let mut lease = worker.claim().await;
    worker.preview(&mut lease, 0).await;
    let completed = stack.submit_by("alice").await;
    worker.make_next().await;
    let queued = stack.submit_by("alice").await;
    let never = glimpse_shared::id::JobId::new(&demo()).to_string();
    for (method, path) in routes_of_a_job() {
        let ask = async |id: &str| stack.by("bob", &method, &path.replace("{id}", id), "").await;
        let unknown = told(&ask(&never).await, &never);
        assert!((400..500).contains(&unknown.0), "{method} {path}: {}", unknown.0);
        for id in [&running, &completed, &queued] {
            assert_eq!(told(&ask(id).await, id), unknown, "{method} {path}");
        }
    }
    // Nor does anyone go on from it.
    let from = |id: &str| {
        json!({ "app": "glimpse/demo", "prompt": "x", "from": { "job": id, "step": 0 } }).to_string()
    };
    for id in [&never, &completed] {
        assert_eq!(stack.by("bob", "POST", "/v1/jobs", &from(id)).await.status, 404);
    }
    // It did nothing, and its own tenant sees all of it.
    for (id, status) in [(&running, "running"), (&completed, "completed"), (&queued, "queued")] {
        let seen = stack.by("alice", "GET", &format!("/v1/jobs/{id}"), "").await;
        assert_eq!((seen.status, &seen.json()["status"]), (200, &json!(status)));
    }
    let image = stack.by("alice", "GET", &format!("/v1/jobs/{completed}/image"), "").await;
    assert_eq!(image.status, 200);
    let events = stack.by("alice", "GET", &format!("/v1/jobs/{completed}/events"), "").await;
    assert!(events.text().contains("event: completed"), "{}", events.text());
    assert_eq!(stack.by("alice", "DELETE", &format!("/v1/jobs/{queued}"), "").await.status, 200);
}

#[tokio::test]
async fn the_store_is_asked_as_often_for_another_tenants_job_as_for_none() {
    let server = RedisServer::start();
    let keys = file(&usual());
    let config = config(&keys, &[]);
    let prefix = "glimpse".parse().unwrap();
    let store = RedisStore::connect(&(&*server.url()).into(), &prefix, config.rules(), Clock::Store).unwrap();
    let stack = Stack::over(Arc::new(store), config, Clock::Store).await;
    stack.store.heartbeat(&record("one", &demo())).await.unwrap();
    let theirs = stack.submit_by("alice").await;
    let never = glimpse_shared::id::JobId::new(&demo()).to_string();
    // Nothing else that this API does now reads a field of a job.
    let reads = || {
        let stats = server.ask(&["INFO", "commandstats"]);
        let line = stats.text().lines().find(|line| line.starts_with("cmdstat_hget:")).unwrap_or("calls=0,");
        line.split("calls=").nth(1).unwrap().split(',').next().unwrap().parse::<u64>().unwrap()
    };
    for (method, path) in routes_of_a_job() {
        let mut asked = Vec::new();
        for id in [&never, &theirs] {
            let before = reads();
            assert!(stack.by("bob", &method, &path.replace("{id}", id), "").await.status >= 400);
            asked.push(reads() - before);
        }
        assert_eq!(asked, [1, 1], "{method} {path}");
    }
}

#[tokio::test]
async fn lists_and_idempotency_keys_are_a_tenants_own() {
    let stack = with_keys(&usual()).await;
    let mut ids = Vec::new();
    for name in ["alice", "bob", "alice"] {
        let key = format!("Key {name}-key");
        let headers = [("authorization", &*key), ("idempotency-key", "order 66")];
        let answer = stack.client().await.ask("POST", "/v1/jobs", &headers, BODY.as_bytes()).await;
        ids.push((answer.status, answer.json()["id"].clone()));
    }
    assert_eq!((ids[0].0, ids[1].0, ids[2].0), (202, 202, 200));
    assert!(ids[0].1 == ids[2].1 && ids[0].1 != ids[1].1, "{ids:?}");
    for (name, id) in [("alice", &ids[0].1), ("bob", &ids[1].1)] {
        let list = stack.by(name, "GET", "/v1/jobs", "").await.json();
        assert_eq!(list["jobs"].as_array().unwrap().len(), 1);
        assert_eq!(&list["jobs"][0]["id"], id);
        // `before` of another tenant is an unknown job too.
        let theirs = if name == "alice" { &ids[1].1 } else { &ids[0].1 };
        let path = format!("/v1/jobs?before={}", theirs.as_str().unwrap());
        assert_eq!(stack.by(name, "GET", &path, "").await.status, 422);
    }
    assert_eq!(stack.by("both", "GET", "/v1/jobs", "").await.json()["jobs"], json!([]));
}

#[tokio::test]
async fn more_jobs_than_a_tenant_may_have_are_429() {
    let two = entry("carol", "max_concurrent = 2").replace("[[key]]", "[[key]]\nweight = 2.5");
    let stack = with_keys(&[usual(), two].concat()).await;
    let first = stack.submit_by("carol").await;
    stack.submit_by("carol").await;
    for (path, body) in [
        ("/v1/jobs", BODY),
        ("/glimpse/demo", r#"{"prompt":"a heart"}"#),
        ("/glimpse/demo/stream", r#"{"prompt":"a heart"}"#),
        ("/queue/glimpse/demo", r#"{"prompt":"a heart"}"#),
        ("/v1/images/generations", r#"{"prompt":"a heart"}"#),
    ] {
        let refused = stack.by("carol", "POST", path, body).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("10")), "{path}");
        assert!(refused.text().contains("2 unfinished jobs"), "{}", refused.text());
    }
    stack.submit_by("alice").await;
    assert_eq!(stack.by("carol", "DELETE", &format!("/v1/jobs/{first}"), "").await.status, 200);
    stack.submit_by("carol").await;
    assert_eq!(stack.by("carol", "POST", "/v1/jobs", BODY).await.status, 429);
}

#[tokio::test]
async fn more_requests_than_a_tenant_may_send_in_a_minute_are_429() {
    let stack = with_keys(&[usual(), entry("dave", "requests_per_minute = 3")].concat()).await;
    for left in ["2", "1", "0"] {
        let answer = stack.by("dave", "GET", "/v1/apps", "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=3;w=60"));
        let rate = answer.header("ratelimit").unwrap();
        assert!(rate.starts_with(&format!("\"requests\";r={left};t=")), "{rate}");
    }
    let refused = stack.by("dave", "GET", "/v1/apps", "").await;
    assert_eq!(refused.status, 429);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&after), "{after}");
    assert!(refused.header("ratelimit").unwrap().starts_with("\"requests\";r=0;t="));
    let others = stack.by("alice", "GET", "/v1/apps", "").await;
    assert_eq!((others.status, others.header("ratelimit")), (200, None));
    assert_eq!(stack.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn keys_are_read_again_on_sighup_and_a_broken_file_changes_nothing() {
    let keys = file(&usual());
    let stack = Stack::with(config(&keys, &[])).await;
    let hang_up = || {
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::HUP).unwrap();
    };
    let until = async |name: &str, status: u16| {
        let end = Instant::now() + SOON;
        while stack.by(name, "GET", "/v1/apps", "").await.status != status {
            assert!(Instant::now() < end, "{name} is not {status}");
            tokio::task::yield_now().await;
        }
    };
    std::fs::write(keys.path(), [entry("alice", ""), entry("erin", "")].concat()).unwrap();
    hang_up();
    until("erin", 200).await;
    assert_eq!(stack.by("alice", "GET", "/v1/apps", "").await.status, 200);
    assert_eq!(stack.by("bob", "GET", "/v1/apps", "").await.status, 401);
    std::fs::write(keys.path(), "[[key]]\nname = \"erin\"\nhash = \"md5:0\"\n").unwrap();
    hang_up();
    // The next file is read after the broken one.
    std::fs::write(keys.path(), [entry("erin", ""), entry("frank", "")].concat()).unwrap();
    hang_up();
    until("frank", 200).await;
    assert_eq!(stack.by("erin", "GET", "/v1/apps", "").await.status, 200);
    assert_eq!(stack.by("alice", "GET", "/v1/apps", "").await.status, 401);
}

#[tokio::test]
async fn with_keys_pages_read_what_needs_none_or_is_allowed_by_the_operator() {
    let keys = file(&usual());
    let origin = ("origin", "https://pictures.example");
    let ask = async |stack: &Stack, method: &str, path: &str, headers: &[(&str, &str)]| {
        let answer = stack.client().await.ask(method, path, headers, b"").await;
        (answer.status, answer.header("access-control-allow-origin").map(str::to_owned))
    };
    let key = ("authorization", "Bearer both-key");
    let preflight = ("access-control-request-method", "GET");
    let closed = Stack::with(config(&keys, &[])).await;
    assert_eq!(ask(&closed, "GET", "/health/live", &[origin]).await, (200, Some("*".to_owned())));
    assert_eq!(
        ask(&closed, "OPTIONS", "/health/live", &[origin, preflight]).await,
        (204, Some("*".to_owned()))
    );
    for path in ["/v1/apps", "/v1/jobs", "/v1/workers", "/v1/models"] {
        assert_eq!(ask(&closed, "GET", path, &[origin, key]).await, (200, None), "{path}");
        assert_eq!(ask(&closed, "OPTIONS", path, &[origin, preflight]).await, (401, None), "{path}");
    }
    let named = Stack::with(config(&keys, &["https://pictures.example", "http://localhost:3000"])).await;
    let theirs = || Some("https://pictures.example".to_owned());
    for path in ["/v1/apps", "/v1/jobs", "/v1/workers", "/glimpse/demo"] {
        assert_eq!(ask(&named, "OPTIONS", path, &[origin, preflight]).await, (204, theirs()), "{path}");
        let other = [("origin", "https://evil.example"), preflight];
        assert_eq!(ask(&named, "OPTIONS", path, &other).await, (204, None), "{path}");
    }
    assert_eq!(ask(&named, "GET", "/v1/jobs", &[origin, key]).await, (200, theirs()));
    assert_eq!(ask(&named, "GET", "/v1/jobs", &[origin]).await, (401, theirs()), "a page can read why");
    let any = Stack::with(config(&keys, &["*"])).await;
    assert_eq!(ask(&any, "GET", "/v1/jobs", &[origin, key]).await, (200, Some("*".to_owned())));
}

#[tokio::test]
async fn a_realtime_connection_opens_with_the_token_that_a_key_got_or_with_the_key() {
    let stack = with_keys(&usual()).await;
    let open = async |query: &str, headers: &[(&str, &str)]| {
        let handshake = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut client = stack.client().await;
        client
            .request("GET", &format!("/glimpse/demo/realtime{query}"), &[&handshake, headers].concat(), b"")
            .await;
        client.status().await
    };
    assert_eq!(stack.post("/tokens", "{}").await.status, 401);
    let body = r#"{"allowed_apps":["demo"],"token_expiration":120}"#;
    let token = stack.by("alice", "POST", "/tokens/", body).await;
    assert_eq!(token.status, 200);
    let token = token.json().as_str().unwrap().to_owned();
    let with = |token: &str| format!("?max_buffering=1&fal_jwt_token={token}");
    assert_eq!(open("", &[]).await, 401);
    assert_eq!(open(&with(&token), &[]).await, 101);
    assert_eq!(open(&with("alice-key"), &[]).await, 101);
    assert_eq!(open("", &[("authorization", "Key alice-key")]).await, 101);
    let mut forged = token.clone();
    forged.replace_range(20..21, if &token[20..21] == "A" { "B" } else { "A" });
    assert_eq!(open(&with(&forged), &[]).await, 401);
    assert_eq!(open(&with("root-key"), &[]).await, 403);
    // A token opens nothing else.
    let path = format!("/v1/apps?fal_jwt_token={token}");
    assert_eq!(stack.get(&path).await.status, 401);
}
