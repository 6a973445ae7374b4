//! Pictures in URLs: fetched only if the operator allows it, and from private networks only if the host is listed.

use std::time::Duration;

use clap::Parser;
use glimpse_api::{Config, FetchLimits};
use glimpse_shared::outbound::TrustedHost;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    pictures::{body, png},
    support::{Answer, SOON, Shelf, Stack},
};

/// An API that fetches from the given hosts, or from all public hosts if none is given.
async fn stack(hosts: &[&str], limits: FetchLimits) -> Stack {
    // As the programs do. An error means that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let allow_image_hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let config =
        Config { allow_image_urls: true, allow_image_hosts, fetch_limits: limits, ..Config::default() };
    Stack::with(config).await
}

async fn submit(stack: &Stack, url: &str) -> Answer {
    stack.post("/v1/jobs", &body(json!({ "app": "glimpse/demo", "image": url }))).await
}

/// The error of a failed fetch.
#[track_caller]
fn refusal(answer: &Answer, url: &str) -> (String, String) {
    assert_eq!(answer.status, 422, "{url}: {}", answer.text());
    let error = &answer.json()["detail"][0];
    assert_eq!((&error["loc"], &error["input"]), (&json!(["body", "image"]), &json!(url)));
    let text = |member: &str| error[member].as_str().unwrap().to_owned();
    (text("type"), text("msg"))
}

fn forbidden() -> (String, String) {
    ("file_download_error".to_owned(), "The address is not allowed".to_owned())
}

fn failed() -> (String, String) {
    ("file_download_error".to_owned(), "The picture could not be fetched".to_owned())
}

#[tokio::test]
async fn a_picture_is_fetched_once_and_goes_with_the_job() {
    let shelf = Shelf::open("127.0.0.1", png(72, 64)).await;
    let stack = stack(&["127.0.0.1"], FetchLimits::default()).await;
    let mut worker = stack.worker();
    let members =
        json!({ "app": "glimpse/demo", "image": shelf.url("/picture"), "mask": shelf.url("/picture") });
    let key = [("idempotency-key", "a picture")];
    for status in [202, 200] {
        let answer =
            stack.client().await.ask("POST", "/v1/jobs", &key, body(members.clone()).as_bytes()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert_eq!(shelf.asked(), 1, "the URL was fetched more than once");
    let lease = worker.claim().await;
    assert_eq!(lease.job.spec.image().unwrap().bytes(), &png(72, 64));
    assert_eq!(lease.job.spec.mask().unwrap().bytes(), &png(72, 64));
    assert_eq!((lease.job.spec.width(), lease.job.spec.height()), (72, 64));
    worker.complete(lease).await;

    // The digest contains the URL: another URL is another request, even for the same picture.
    let mut other = members;
    other["image"] = json!(shelf.url("/redirect/1//picture"));
    let answer = stack.client().await.ask("POST", "/v1/jobs", &key, body(other).as_bytes()).await;
    assert_eq!(answer.json()["detail"][0]["type"], "idempotency_conflict");
}

#[tokio::test]
async fn fals_clients_may_send_urls() {
    let shelf = Shelf::open("127.0.0.1", png(72, 64)).await;
    let stack = stack(&["127.0.0.1"], FetchLimits::default()).await;
    let _worker = stack.diligent_worker();
    let members = json!({ "image_url": shelf.url("/picture"), "strength": 0.8 });
    let answer = stack.post("/glimpse/demo", &body(members)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer =
        stack.post("/glimpse/demo/stream", &body(json!({ "image_url": shelf.url("/missing") }))).await;
    assert_eq!((answer.status, &answer.json()["detail"][0]["loc"]), (422, &json!(["body", "image_url"])));
}

#[tokio::test]
async fn no_spelling_of_a_private_address_is_fetched() {
    let shelf = Shelf::open("127.0.0.1", png(72, 64)).await;
    let port = shelf.address.port();
    let stack = stack(&[], FetchLimits::default()).await;
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0177.0.0.01",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "2852039166",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "user@127.0.0.1",
        "user:word@example.com",
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/picture");
            let answer = submit(&stack, &url).await;
            assert_eq!(refusal(&answer, &url), forbidden(), "{url}");
        }
    }
    assert_eq!(shelf.asked(), 0);
}

#[tokio::test]
async fn only_listed_hosts_are_fetched() {
    let listed = Shelf::open("127.0.0.1", png(72, 64)).await;
    let other = Shelf::open("127.0.0.2", png(72, 64)).await;
    let stack = stack(&["LocalHost", "127.1"], FetchLimits::default()).await;
    for url in [listed.url("/picture"), format!("http://localhost:{}/picture", listed.address.port())] {
        assert_eq!(submit(&stack, &url).await.status, 202, "{url}");
    }
    for url in [other.url("/picture"), "http://example.com/".to_owned(), "http://8.8.8.8/".to_owned()] {
        assert_eq!(refusal(&submit(&stack, &url).await, &url), forbidden(), "{url}");
    }
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn a_redirection_is_followed_as_far_as_it_is_allowed() {
    let shelf = Shelf::open("127.0.0.1", png(72, 64)).await;
    let other = Shelf::open("127.0.0.2", png(72, 64)).await;
    let stack = stack(&["127.0.0.1"], FetchLimits::default()).await;
    for (path, status) in
        [("/redirect/1//picture", 202), ("/redirect/3//picture", 202), ("/redirect/4//picture", 422)]
    {
        assert_eq!(submit(&stack, &shelf.url(path)).await.status, status, "{path}");
    }
    for target in [
        other.url("/picture"),
        "http://[::1]/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "//127.0.0.2/".to_owned(),
        format!("http://user@{}/picture", shelf.address),
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        "data:image/png;base64,".to_owned(),
    ] {
        let url = shelf.url(&format!("/redirect/2/{target}"));
        assert_eq!(refusal(&submit(&stack, &url).await, &url), forbidden(), "{target}");
    }
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn a_failed_fetch_reveals_nothing_about_the_address() {
    let shelf = Shelf::open("127.0.0.1", png(72, 64)).await;
    let stack = stack(&["127.0.0.1", "localhost", "no.such.name.invalid"], FetchLimits::default()).await;
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let no_tls = shelf.url("/picture").replace("http:", "https:");
    let unknown = "http://no.such.name.invalid/".to_owned();
    for url in [nobody, no_tls, unknown, shelf.url("/missing"), shelf.url("/partial")] {
        assert_eq!(refusal(&submit(&stack, &url).await, &url), failed(), "{url}");
    }
    let url = shelf.url("/secret");
    let answer = submit(&stack, &url).await;
    assert_eq!(refusal(&answer, &url).0, "unsupported_image_format");
    assert!(!answer.text().replace(&url, "").contains("secret"));
}

#[tokio::test]
async fn a_body_without_end_is_cut_at_the_limit() {
    let picture = png(72, 64);
    let limits = FetchLimits { bytes: picture.len(), ..FetchLimits::default() };
    let longer = [&picture[..], b"."].concat();
    let (shelf, longer) = (Shelf::open("127.0.0.1", picture).await, Shelf::open("127.0.0.1", longer).await);
    let stack = stack(&["127.0.0.1"], limits).await;
    assert_eq!(submit(&stack, &shelf.url("/picture")).await.status, 202);
    for url in [longer.url("/picture"), shelf.url("/endless"), shelf.url("/huge")] {
        assert_eq!(refusal(&submit(&stack, &url).await, &url).0, "file_too_large", "{url}");
    }
}

#[tokio::test]
async fn a_slow_image_server_times_out() {
    let shelf = Shelf::open("127.0.0.1", png(72, 64)).await;
    let limits = FetchLimits { timeout: Duration::from_millis(300), ..FetchLimits::default() };
    let stack = stack(&["127.0.0.1"], limits).await;
    for path in ["/silent", "/stalled"] {
        let (url, asked) = (shelf.url(path), Instant::now());
        assert_eq!(refusal(&submit(&stack, &url).await, &url), failed(), "{path}");
        assert!(asked.elapsed() < SOON / 2, "{path}");
    }
}

#[tokio::test]
async fn too_many_parallel_fetches_are_429() {
    let shelf = Shelf::open("127.0.0.1", png(72, 64)).await;
    let limits = FetchLimits { at_once: 1, timeout: SOON, ..FetchLimits::default() };
    let stack = stack(&["127.0.0.1"], limits).await;
    let mut first = stack.client().await;
    let waits: Value = json!({ "app": "glimpse/demo", "prompt": "a", "image": shelf.url("/silent") });
    first.request("POST", "/v1/jobs", &[], waits.to_string().as_bytes()).await;
    shelf.called.notified().await;
    let answer = submit(&stack, &shelf.url("/picture")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("2")), "{}", answer.text());
    // Requests without URLs are still served, and a reset connection frees its permit.
    stack.submit("a").await;
    first.reset();
    let deadline = Instant::now() + SOON;
    while submit(&stack, &shelf.url("/picture")).await.status != 202 {
        assert!(Instant::now() < deadline, "the place stays taken");
    }
}

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    api: Config,
}

#[test]
fn the_flags_set_what_is_fetched() {
    let parse = |flags: &[&str]| Flags::try_parse_from([&["x"], flags].concat()).map(|flags| flags.api);
    assert!(!parse(&[]).unwrap().allow_image_urls);
    assert!(parse(&["--allow-image-urls"]).unwrap().allow_image_hosts.is_empty());
    let listed = parse(&["--allow-image-urls", "--allow-image-hosts", "a.b,::1"]).unwrap();
    assert_eq!(listed.allow_image_hosts, ["a.b", "[::1]"].map(|host| host.parse().unwrap()));
    assert_eq!(listed.fetch_limits, FetchLimits::default());
    for flags in
        [&["--allow-image-hosts", "a.b"][..], &["--allow-image-urls", "--allow-image-hosts", "a.b,c:80"]]
    {
        assert!(parse(flags).is_err(), "{flags:?}");
    }
}

#[test]
fn a_listed_host_is_only_a_host() {
    for host in
        ["example.com", "EXAMPLE.com", "127.0.0.1", "::1", "[::1]", "bücher.example", "store.internal."]
    {
        assert!(host.parse::<TrustedHost>().is_ok(), "{host}");
    }
    for host in [
        "",
        "a b",
        "http://a",
        "a:80",
        "[::1]:80",
        "a/",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        ":",
        "[::1",
        "1.2.3.4.5",
        "*.a.b",
        "a\tb",
    ] {
        assert!(host.parse::<TrustedHost>().is_err(), "{host}");
    }
}
