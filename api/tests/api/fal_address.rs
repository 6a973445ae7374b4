//! The addresses of fal's queue: those that its answers have, and those that are understood.

use glimpse_api::{Config, PublicUrl};
use serde_json::json;

use crate::support::{
    Stack,
    fal::{BODY, QUEUE, submit},
};

/// The address of the queue in the answer to a submit.
async fn base_of(stack: &Stack, path: &str, headers: &[(&str, &str)]) -> String {
    let answer = stack.client().await.ask("POST", path, headers, BODY.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let rest = format!("/glimpse/demo/requests/{}", body["request_id"].as_str().unwrap());
    body["response_url"].as_str().unwrap().strip_suffix(&rest).unwrap().to_owned()
}

#[tokio::test]
async fn the_addresses_are_those_by_which_the_client_came() {
    let trusted = Stack::start().await;
    let untrusted =
        Stack::with(Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Config::default() })
            .await;
    let https = ("x-forwarded-proto", "https");
    let at = ("host", "pictures.example:8443");
    for (stack, headers, base) in [
        (&trusted, &[at][..], "http://pictures.example:8443/queue"),
        (&trusted, &[at, https], "https://pictures.example:8443/queue"),
        (&trusted, &[at, ("x-forwarded-proto", "https, http")], "https://pictures.example:8443/queue"),
        (&trusted, &[at, ("x-forwarded-proto", "gopher")], "http://pictures.example:8443/queue"),
        (&untrusted, &[at, https], "http://pictures.example:8443/queue"),
    ] {
        assert_eq!(base_of(stack, QUEUE, headers).await, base, "{headers:?}");
    }
    let listens_on = format!("http://{}/queue", trusted.address);
    assert_eq!(base_of(&trusted, QUEUE, &[("host", "not an address")]).await, listens_on);
    let public: PublicUrl = "https://example.com/pictures/".parse().unwrap();
    let behind = Stack::with(Config { public_url: Some(public), ..Config::default() }).await;
    assert_eq!(base_of(&behind, QUEUE, &[at]).await, "https://example.com/pictures/queue");
    assert_eq!(
        base_of(&behind, "/glimpse/demo", &[("host", "queue.x")]).await,
        "https://example.com/pictures/queue"
    );
}

#[tokio::test]
async fn a_host_of_its_own_needs_no_prefix() {
    let stack = Stack::start().await;
    let host = [("host", "Queue.example")];
    assert_eq!(base_of(&stack, "/glimpse/demo", &host).await, "http://Queue.example");
    assert_eq!(base_of(&stack, QUEUE, &host).await, "http://Queue.example/queue");
    let id = submit(&stack).await;
    let path = format!("/glimpse/demo/requests/{id}/status/?logs=1");
    let answer = stack.client().await.ask("GET", &path, &host, b"").await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("IN_QUEUE")));
    for path in ["/health/live", "/", "/v1/workers/"] {
        assert_eq!(stack.client().await.ask("GET", path, &host, b"").await.status, 200, "{path}");
    }
}
