//! Webhooks: what is accepted, what a receiver gets, and when it is called again.

use std::time::Duration;

use base64::{Engine, prelude::*};
use clap::Parser;
use glimpse_api::{Config, WebhookKey, WebhookLimits};
use glimpse_shared::{
    event::FailureCode,
    id::{JobId, Micros},
    job::Job,
    store::Rules,
    webhook::{Webhook, WebhookForm},
};
use glimpse_test_support::{WebhookAnswer, WebhookCall, WebhookReceiver};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    SOON, Stack,
    fal::{BODY, QUEUE, request},
};

/// The time from a failed try to the next one.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The lease of a try.
const LEASE: Duration = Duration::from_secs(30);

/// An API that calls private addresses, and asks its store often.
fn config() -> Config {
    // As the programs do. An error means that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pause = Duration::from_millis(5);
    let webhook_limits = WebhookLimits { pause, ..WebhookLimits::default() };
    Config { allow_private_webhooks: true, webhook_limits, ..Config::default() }
}

fn always(answer: WebhookAnswer) -> WebhookReceiver {
    WebhookReceiver::start(move |_, _| answer.clone())
}

/// The calls, when there are so many.
async fn calls(receiver: &WebhookReceiver, count: usize) -> Vec<WebhookCall> {
    let deadline = Instant::now() + SOON;
    loop {
        let calls = receiver.calls();
        if calls.len() >= count {
            return calls;
        }
        assert!(Instant::now() < deadline, "{} calls instead of {count}", calls.len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Advances the store's clock until there are so many calls. Returns the time that it took.
async fn calls_after(stack: &Stack, receiver: &WebhookReceiver, count: usize) -> Duration {
    let (deadline, mut passed) = (Instant::now() + SOON, Duration::ZERO);
    while receiver.calls().len() < count {
        assert!(Instant::now() < deadline, "{} calls instead of {count}", receiver.calls().len());
        stack.clock.advance(Duration::from_secs(1));
        passed += Duration::from_secs(1);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    passed
}

/// Waits until nothing is due or leased any more, so that no call can come.
async fn until_over(stack: &Stack) {
    let deadline = Instant::now() + SOON;
    loop {
        stack.clock.advance(Duration::from_secs(3600));
        if stack.store.take_deliveries().await.unwrap().is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "a webhook is called for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Submits to fal's queue with a webhook.
async fn submit(stack: &Stack, url: &str) -> JobId {
    let answer = stack.post(&format!("{QUEUE}?fal_webhook={}", encoded(url)), BODY).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["request_id"].as_str().unwrap().parse().unwrap()
}

fn encoded(url: &str) -> String {
    url.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Waits until the second after that of a call begins on the system's clock, which timestamps of calls show.
async fn second_after(call: &WebhookCall) {
    let second: u64 = call.header("x-fal-webhook-timestamp").parse().unwrap();
    let next = Micros((second + 1) * 1_000_000);
    tokio::time::sleep(next.since(Micros::system())).await;
    assert!(Micros::system() >= next, "the clock was set back");
}

/// The public key of a stack.
async fn public_key(stack: &Stack) -> Vec<u8> {
    let answer = stack.get("/.well-known/jwks.json").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    let keys = answer.json();
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["crv"]), (&json!("OKP"), &json!("Ed25519")));
    BASE64_URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap()
}

/// Checks fal's headers as fal documents it. Returns the time.
fn verified_fal(call: &WebhookCall, key: &[u8]) -> u64 {
    let [id, user, time, signature] = ["request-id", "user-id", "timestamp", "signature"]
        .map(|name| call.header(&format!("x-fal-webhook-{name}")));
    let hash = ring::digest::digest(&ring::digest::SHA256, &call.body);
    let message = format!("{id}\n{user}\n{time}\n{}", hex(hash.as_ref()));
    UnparsedPublicKey::new(&ED25519, key)
        .verify(message.as_bytes(), &unhex(signature))
        .expect("fal's signature");
    assert_eq!(user, "anonymous");
    assert_eq!(call.json()["request_id"], id);
    near_now(time)
}

/// Checks the headers of Standard Webhooks. Returns the time.
fn verified_standard(call: &WebhookCall, key: &[u8]) -> u64 {
    let [id, time, signature] =
        ["id", "timestamp", "signature"].map(|name| call.header(&format!("webhook-{name}")));
    let message = [format!("{id}.{time}.").as_bytes(), &call.body].concat();
    let signature =
        BASE64_STANDARD.decode(signature.strip_prefix("v1a,").expect("an Ed25519 signature")).unwrap();
    UnparsedPublicKey::new(&ED25519, key).verify(&message, &signature).expect("the signature");
    assert_eq!(call.json()["id"], id);
    near_now(time)
}

fn near_now(time: &str) -> u64 {
    let (time, now) = (time.parse::<u64>().unwrap(), std::time::UNIX_EPOCH.elapsed().unwrap().as_secs());
    assert!(time.abs_diff(now) < 60, "{time} is not {now}");
    time
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn fals_receiver_gets_the_result_signed() {
    let receiver = always(WebhookAnswer::OK);
    let stack = Stack::with(config()).await;
    let id = submit(&stack, &receiver.url("/hook?token=a%20b")).await;
    assert_eq!(receiver.calls(), []);
    stack.worker().make_next().await;
    let call = calls(&receiver, 1).await.remove(0);
    assert_eq!((&*call.path, call.header("content-type")), ("/hook?token=a%20b", "application/json"));
    verified_fal(&call, &public_key(&stack).await);
    let payload = stack.get(&request(id)).await.json();
    let expected = json!({ "request_id": id, "gateway_request_id": id, "status": "OK", "payload": payload });
    assert_eq!(call.json(), expected);
    assert!(payload["images"][0]["url"].is_string());
    until_over(&stack).await;
    assert_eq!(receiver.calls().len(), 1, "it was called again after its acknowledgement");
}

#[tokio::test]
async fn a_request_without_pictures_calls_with_its_error() {
    let receiver = always(WebhookAnswer::OK);
    let stack = Stack::with(config()).await;
    let key = public_key(&stack).await;
    let mut worker = stack.worker();
    let failed = submit(&stack, &receiver.url("/failed")).await;
    let lease = worker.claim().await;
    worker.fail(lease, FailureCode::BadRequest, "too large").await;
    calls(&receiver, 1).await;
    let cancelled = submit(&stack, &receiver.url("/cancelled")).await;
    stack.ask("PUT", &format!("{}/cancel", request(cancelled)), "").await;
    let calls = calls(&receiver, 2).await;
    for (call, (id, status)) in calls.iter().zip([(failed, 400), (cancelled, 499)]) {
        verified_fal(call, &key);
        let expected = json!({
            "request_id": id, "gateway_request_id": id, "status": "ERROR",
            "error": format!("Invalid status code: {status}"),
            "payload": stack.get(&request(id)).await.json(),
        });
        assert_eq!(call.json(), expected);
    }
}

#[tokio::test]
async fn our_receiver_gets_the_job_signed_as_standard_webhooks_says() {
    let receiver = always(WebhookAnswer::status(204));
    let stack = Stack::with(config()).await;
    let body = json!({ "app": "glimpse/demo", "prompt": "a é heart", "webhook": receiver.url("/hook") });
    let answer = stack.post("/v1/jobs", &body.to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    stack.worker().make_next().await;
    let call = calls(&receiver, 1).await.remove(0);
    verified_standard(&call, &public_key(&stack).await);
    assert_eq!(call.header("webhook-id"), id);
    assert_eq!(call.body, stack.get(&format!("/v1/jobs/{id}")).await.body);
    assert_eq!(call.json()["status"], "completed");
    until_over(&stack).await;
    assert_eq!(receiver.calls().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_does_not_acknowledge_is_called_again_with_the_same_body() {
    let answers = [
        WebhookAnswer::status(500),
        WebhookAnswer::Close,
        WebhookAnswer::status(404),
        WebhookAnswer::Redirect("/elsewhere".to_owned()),
        WebhookAnswer::OK,
    ];
    let (count, of) = (answers.len(), answers.clone());
    let receiver = WebhookReceiver::start(move |number, _| of[number].clone());
    let stack = Stack::with(config()).await;
    submit(&stack, &receiver.url("/hook")).await;
    stack.worker().make_next().await;
    let mut wait = FIRST_WAIT;
    for number in 1..count {
        let made = calls(&receiver, number).await;
        if number == 1 {
            second_after(&made[0]).await;
        }
        let passed = calls_after(&stack, &receiver, number + 1).await;
        assert!(passed >= wait, "call {number} came after {passed:?}, not {wait:?}");
        wait *= 2;
    }
    let calls = calls(&receiver, count).await;
    let key = public_key(&stack).await;
    let times: Vec<_> = calls.iter().map(|call| verified_fal(call, &key)).collect();
    assert!(calls.iter().all(|call| call.body == calls[0].body && call.path == "/hook"));
    let ids: Vec<_> = calls.iter().map(|call| call.header("x-fal-webhook-request-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert!(times[0] < times[count - 1], "{times:?}");
    let signature = |call: &WebhookCall| call.header("x-fal-webhook-signature").to_owned();
    assert_ne!(signature(&calls[0]), signature(&calls[count - 1]));
    until_over(&stack).await;
    assert_eq!(receiver.calls().len(), count);
}

#[tokio::test]
async fn a_receiver_that_is_down_is_called_when_it_is_back() {
    let closes = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closes.local_addr().unwrap().to_string();
    let stack = Stack::with(config()).await;
    submit(&stack, &format!("http://{address}/hook")).await;
    stack.worker().make_next().await;
    let (connection, _) = closes.accept().await.unwrap();
    drop((connection, closes));
    let receiver = WebhookReceiver::at(&address, |_, _| WebhookAnswer::OK);
    let passed = calls_after(&stack, &receiver, 1).await;
    assert!(passed > Duration::ZERO, "called again at once");
    verified_fal(&receiver.calls()[0], &public_key(&stack).await);
}

#[tokio::test]
async fn an_answer_without_end_and_a_silent_receiver_hold_nothing_up() {
    let receiver = WebhookReceiver::start(|_, call| match &*call.path {
        "/endless" => WebhookAnswer::Endless,
        "/silent" => WebhookAnswer::Silence,
        _ => WebhookAnswer::OK,
    });
    let mut config = config();
    config.webhook_limits.timeout = Duration::from_millis(200);
    let stack = Stack::with(config).await;
    for path in ["/silent", "/endless", "/quick"] {
        submit(&stack, &receiver.url(path)).await;
        stack.worker().make_next().await;
    }
    calls(&receiver, 3).await;
    // Only the silent one is called again: an endless body does not matter.
    calls_after(&stack, &receiver, 5).await;
    let paths: Vec<_> = receiver.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths[3..], ["/silent", "/silent"]);
}

#[test]
fn a_receiver_that_never_answers_is_called_again_within_ten_seconds() {
    let (limits, rules) = (WebhookLimits::default(), Rules::default());
    assert_eq!(rules.webhook_first_wait, FIRST_WAIT);
    // The rest is for the store and the lookup of the name.
    let begins_again = limits.timeout + rules.webhook_first_wait + limits.pause;
    assert!(begins_again <= Duration::from_secs(9), "{begins_again:?}");
}

#[tokio::test]
async fn private_and_malformed_addresses_are_422() {
    let stack = Stack::start().await;
    let port = stack.address.port();
    let refusals = [
        (format!("http://127.0.0.1:{port}/"), "forbidden_address"),
        (format!("https://localhost:{port}/"), "forbidden_address"),
        (format!("http://localhost.:{port}/"), "forbidden_address"),
        ("http://LOCALHOST./".to_owned(), "forbidden_address"),
        ("http://hook.localhost/".to_owned(), "forbidden_address"),
        ("http://hook.localhost./".to_owned(), "forbidden_address"),
        ("http://10.0.0.1/".to_owned(), "forbidden_address"),
        ("http://192.168.1.1/hook".to_owned(), "forbidden_address"),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), "forbidden_address"),
        ("http://[::1]/".to_owned(), "forbidden_address"),
        ("http://[fe80::1]/".to_owned(), "forbidden_address"),
        ("http://2130706433/".to_owned(), "forbidden_address"),
        ("http://0/".to_owned(), "forbidden_address"),
        ("ftp://example.com/".to_owned(), "url_scheme"),
        ("file:///etc/passwd".to_owned(), "url_scheme"),
        ("http://user:word@8.8.8.8/".to_owned(), "url_credentials"),
        ("example.com/hook".to_owned(), "url_parsing"),
        (String::new(), "url_parsing"),
        (format!("http://8.8.8.8/{}", "a".repeat(2048)), "url_too_long"),
    ];
    for (url, kind) in refusals {
        let answer = stack.post(&format!("{QUEUE}?fal_webhook={}", encoded(&url)), BODY).await;
        assert_eq!(answer.status, 422, "{url}: {}", answer.text());
        let error = &answer.json()["detail"][0];
        assert_eq!(
            (&error["loc"], &error["type"]),
            (&json!(["query", "fal_webhook"]), &json!(kind)),
            "{url}"
        );
        let body = json!({ "app": "glimpse/demo", "prompt": "a", "webhook": url });
        let answer = stack.post("/v1/jobs", &body.to_string()).await;
        let error = &answer.json()["detail"][0];
        assert_eq!((&error["loc"], &error["type"]), (&json!(["body", "webhook"]), &json!(kind)), "{url}");
    }
    let many =
        stack.post(&format!("{QUEUE}?fal_webhook=http://8.8.8.8&fal_webhook=http://8.8.8.8"), BODY).await;
    assert_eq!((many.status, &many.json()["detail"][0]["loc"][1]), (422, &json!("fal_webhook")));
    let number = json!({ "app": "glimpse/demo", "prompt": "a", "webhook": 7 });
    let answer = stack.post("/v1/jobs", &number.to_string()).await;
    assert_eq!(answer.json()["detail"][0]["type"], "string_type");
    // It is reported together with the other fields.
    let answer = stack.post(&format!("{QUEUE}?fal_webhook=x"), r#"{"num_inference_steps":0}"#).await;
    let fields: Vec<Value> =
        answer.json()["detail"].as_array().unwrap().iter().map(|error| error["loc"][1].clone()).collect();
    assert_eq!(fields.len(), 3, "{fields:?}");
    // Public addresses are accepted, and a null is no webhook.
    submit(&stack, "https://8.8.8.8:8443/hook").await;
    let none = json!({ "app": "glimpse/demo", "prompt": "a", "webhook": null });
    assert_eq!(stack.post("/v1/jobs", &none.to_string()).await.status, 202);
}

#[tokio::test]
async fn a_private_address_is_never_called_without_the_flag() {
    let receiver = always(WebhookAnswer::OK);
    let allowed = Stack::with(config()).await;
    let id = submit(&allowed, &receiver.url("/hook")).await;
    let job = Job { id, ..allowed.worker().claim().await.job };
    // Another API of the fleet, or the same one with other flags, has accepted the job.
    let stack = Stack::with(Config { allow_private_webhooks: false, ..config() }).await;
    let name = format!("http://localhost:{}/hook", receiver.address().port());
    for (n, url) in [receiver.url("/hook"), name].into_iter().enumerate() {
        let id = if n == 0 { id } else { JobId::new(&job.app) };
        let webhook =
            Some(Webhook { url, form: WebhookForm::Fal, origin: "http://127.0.0.1:8080".to_owned() });
        stack.store.submit(&Job { id, webhook, ..job.clone() }).await.unwrap();
        stack.worker().make_next().await;
    }
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        stack.clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(receiver.calls(), []);
    until_over(&stack).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = always(WebhookAnswer::OK);
    let target = other.url("/private");
    let receiver = always(WebhookAnswer::Redirect(target));
    let stack = Stack::with(config()).await;
    submit(&stack, &receiver.url("/hook")).await;
    stack.worker().make_next().await;
    calls_after(&stack, &receiver, 3).await;
    assert_eq!(other.calls(), []);
}

#[tokio::test]
async fn another_api_takes_over_from_one_that_dies_in_a_call() {
    let receiver = WebhookReceiver::start(|number, _| match number {
        0 => WebhookAnswer::Silence,
        _ => WebhookAnswer::OK,
    });
    let dies = Stack::with(config()).await;
    submit(&dies, &receiver.url("/hook")).await;
    dies.worker().make_next().await;
    let first = calls(&receiver, 1).await.remove(0);
    let key = public_key(&dies).await;
    let (store, clock) = (dies.store.clone(), dies.clock.clone());
    dies.kill().await;
    let other = Stack::over(store, config(), clock).await;
    // Once the other API makes a later call, it has asked for all calls that are due.
    let later = always(WebhookAnswer::OK);
    submit(&other, &later.url("/later")).await;
    other.worker().make_next().await;
    calls(&later, 1).await;
    assert_eq!(receiver.calls().len(), 1, "it was called before the lease expired");
    other.clock.advance(LEASE);
    let second = calls(&receiver, 2).await.remove(1);
    assert_eq!(first.body, second.body);
    // The key is one for all.
    verified_fal(&second, &key);
    assert_eq!(public_key(&other).await, key);
    until_over(&other).await;
    assert_eq!(receiver.calls().len(), 2);
}

#[tokio::test]
async fn a_drain_finishes_open_calls_and_begins_none() {
    let receiver = WebhookReceiver::start(|_, _| WebhookAnswer::Status(200, Duration::from_millis(300)));
    let mut stack = Stack::with(config()).await;
    submit(&stack, &receiver.url("/first")).await;
    submit(&stack, &receiver.url("/second")).await;
    let mut worker = stack.worker();
    worker.make_next().await;
    calls(&receiver, 1).await;
    stack.shut_down().await;
    worker.make_next().await;
    assert!(receiver.calls()[0].acknowledged, "an open call was cut");
    let taken = stack.store.take_deliveries().await.unwrap();
    assert_eq!(taken.len(), 1, "{taken:?}");
    stack.clock.advance(LEASE);
    assert_eq!(stack.store.take_deliveries().await.unwrap().len(), 1, "the first call was not reported");
    assert_eq!(receiver.calls().len(), 1);
}

/// A private key as `openssl genpkey -algorithm ed25519` writes it, and its public key.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    api: Config,
}

fn parsed(flags: &[&str]) -> Result<Config, String> {
    let flags = Flags::try_parse_from([&["x"], flags].concat());
    flags.map(|flags| flags.api).map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_operators_key_signs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("key.pem"), PEM).unwrap();
    let webhook_key = parsed(&["--webhook-key", &path("key.pem")]).unwrap().webhook_key;
    assert!(webhook_key.is_some());
    // RFC 8032's first key.
    let shown = format!("{webhook_key:?}");
    assert!(!shown.contains("nWGxne") || shown.contains("9d61b19d"), "{shown}");
    let receiver = always(WebhookAnswer::OK);
    let stack = Stack::with(Config { webhook_key, ..config() }).await;
    submit(&stack, &receiver.url("/hook")).await;
    stack.worker().make_next().await;
    let key = public_key(&stack).await;
    assert_eq!(hex(&key), PUBLIC);
    verified_fal(&calls(&receiver, 1).await[0], &key);
    assert_eq!(stack.post("/.well-known/jwks.json", "").await.status, 405);
}

#[test]
fn a_key_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("text.pem"), "not a key").unwrap();
    std::fs::write(path("public.pem"), PEM.replace("PRIVATE", "PUBLIC")).unwrap();
    std::fs::write(path("cut.pem"), PEM.replace("rn9g", "")).unwrap();
    std::fs::write(path("empty.pem"), "").unwrap();
    for name in ["text.pem", "public.pem", "cut.pem", "empty.pem"] {
        let why = WebhookKey::read(&path(name)).unwrap_err();
        assert!(why.contains(name) && why.contains("openssl genpkey -algorithm ed25519"), "{why}");
    }
    let why = parsed(&["--webhook-key", &path("missing.pem")]).unwrap_err();
    assert!(why.contains("cannot read the key file") && why.contains("missing.pem"), "{why}");
}

#[test]
fn private_webhooks_are_allowed_by_a_flag() {
    assert!(!parsed(&[]).unwrap().allow_private_webhooks);
    assert!(parsed(&["--allow-private-webhooks"]).unwrap().allow_private_webhooks);
    assert_eq!(parsed(&[]).unwrap().webhook_limits, WebhookLimits::default());
}
