//! `/api/fal/proxy`: the address that fal's JavaScript client calls with the real one in a header.

use serde_json::json;

use crate::support::{Answer, Stack};

const BODY: &[u8] = br#"{"prompt":"a heart","seed":1}"#;

async fn ask(stack: &Stack, method: &str, target: &str, body: &[u8]) -> Answer {
    stack.client().await.ask(method, "/api/fal/proxy", &[("x-fal-target-url", target)], body).await
}

#[tokio::test]
async fn fals_hosts_stand_for_our_routes() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let run = ask(&stack, "POST", "https://fal.run/glimpse/demo", BODY).await;
    assert_eq!((run.status, &run.json()["seed"]), (200, &json!(1)));
    let target = [("x-fal-target-url", "https://fal.run/glimpse/demo/stream")];
    let body = std::str::from_utf8(BODY).unwrap();
    let mut stream = stack.client().await.stream("POST", "/api/fal/proxy/", &target, body).await;
    // The previews may have been made before the stream was open.
    assert!(stream.rest().await.pop().unwrap().contains("\"seed\":1"));
    let submitted = ask(&stack, "POST", "https://queue.fal.run/glimpse/demo", BODY).await.json();
    let id = submitted["request_id"].as_str().unwrap();
    assert_eq!(submitted["response_url"], format!("http://localhost/queue/glimpse/demo/requests/{id}"));
    stack.until(id.parse().unwrap(), glimpse_shared::job::Status::Completed).await;
    let request = format!("https://queue.fal.run/glimpse/demo/requests/{id}");
    let status = ask(&stack, "GET", &format!("{request}/status?logs=1"), b"").await;
    assert_eq!((status.status, status.json()["logs"].is_array()), (200, true));
    assert_eq!(ask(&stack, "GET", &request, b"").await.json(), run.json());
    assert_eq!(ask(&stack, "PUT", &format!("{request}/cancel"), b"").await.status, 400);
}

#[tokio::test]
async fn another_address_is_400_and_nothing_is_fetched() {
    let stack = Stack::start().await;
    for target in [
        "",
        "glimpse/demo",
        "http://fal.run/glimpse/demo",
        "https://fal.run:8443/glimpse/demo",
        "https://example.com/glimpse/demo",
        "https://fal.run.example.com/glimpse/demo",
        "https://rest.fal.ai/storage/upload/initiate",
        // Not a route of fal's.
        "https://fal.run/v1/dead",
        "https://fal.run/",
        "https://fal.run/queue/glimpse/demo",
        "https://fal.run/api/fal/proxy",
    ] {
        let answer = ask(&stack, "POST", target, BODY).await;
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("X-Fal-Target-Url"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(stack.post("/api/fal/proxy", "{}").await.status, 400);
    assert_eq!(stack.ask("OPTIONS", "/api/fal/proxy", "").await.status, 204);
}
