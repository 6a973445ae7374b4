//! `GET /v1/jobs`.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use crate::support::{Client, Stack, accepted};

fn ids(list: &Value) -> Vec<String> {
    let jobs = list["jobs"].as_array().unwrap();
    jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

/// A stack with three jobs, oldest first: completed, queued, queued.
async fn three() -> (Stack, Vec<String>) {
    let stack = Stack::start().await;
    let mut all = Vec::new();
    for prompt in ["one", "two", "three"] {
        all.push(stack.submit(prompt).await.to_string());
        stack.clock.advance(Duration::from_secs(1));
    }
    stack.worker().make_next().await;
    (stack, all)
}

#[tokio::test]
async fn jobs_are_listed_newest_first() {
    let (stack, all) = three().await;
    let list = stack.get("/v1/jobs").await;
    assert_eq!(list.status, 200);
    let mut expected = all.clone();
    expected.reverse();
    assert_eq!(ids(&list.json()), expected);
    let oldest = json!({
        "id": all[0], "app": "glimpse/demo", "status": "completed", "created_at": "2023-11-14T22:13:20Z",
    });
    assert_eq!(list.json()["jobs"][2], oldest);
    assert_eq!(ids(&stack.get("/v1/jobs?status=queued&limit=1").await.json()), [all[2].clone()]);
    let before = format!("/v1/jobs?status=queued&before={}", all[2]);
    assert_eq!(ids(&stack.get(&before).await.json()), [all[1].clone()]);
    assert_eq!(stack.get("/v1/jobs?status=failed").await.json(), json!({ "jobs": [] }));
}

#[tokio::test]
async fn a_wrong_query_names_each_parameter() {
    let (stack, all) = three().await;
    let wrong = stack.get("/v1/jobs?status=done&limit=0&before=me").await;
    assert_eq!(wrong.status, 422);
    let json = wrong.json();
    let places: Vec<_> = json["detail"].as_array().unwrap().iter().map(|error| &error["loc"][1]).collect();
    assert_eq!(places, ["status", "limit", "before"]);
    for limit in ["101", "-1", "1.5", ""] {
        assert_eq!(stack.get(&format!("/v1/jobs?limit={limit}")).await.status, 422, "{limit}");
    }
    for limit in ["1", "100"] {
        assert_eq!(stack.get(&format!("/v1/jobs?limit={limit}")).await.status, 200, "{limit}");
    }
    let id: glimpse_shared::id::JobId = all[0].parse().unwrap();
    stack.store.forget(id).await.unwrap();
    let gone = stack.get(&format!("/v1/jobs?before={id}")).await;
    assert_eq!((gone.status, &gone.json()["detail"][0]["loc"]), (422, &json!(["query", "before"])));
}

#[tokio::test]
async fn no_web_page_may_read_the_list_but_may_submit() {
    let (stack, _) = three().await;
    let origin = [("origin", "https://example.com")];
    for path in ["/v1/jobs", "/v1/jobs?limit=x"] {
        let list = stack.client().await.ask("GET", path, &origin, b"").await;
        assert_eq!(list.header("access-control-allow-origin"), None, "{path}");
    }
    let body = r#"{"app":"glimpse/demo","prompt":"a heart"}"#;
    let submitted = stack.client().await.ask("POST", "/v1/jobs", &origin, body.as_bytes()).await;
    assert_eq!(submitted.header("access-control-allow-origin"), Some("*"));
    let id = submitted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(submitted.json()["urls"], accepted(&id)["urls"]);
}

#[tokio::test]
async fn other_machines_get_403() {
    let (stack, _) = three().await;
    let rebound = stack.client().await.ask("GET", "/v1/jobs", &[("host", "example.com")], b"").await;
    assert_eq!(rebound.status, 403);
    let open = Stack::at("0.0.0.0:0", stack.store.clone(), Default::default(), stack.clock.clone()).await;
    let address = SocketAddr::from(([127, 0, 0, 1], open.address.port()));
    let mut client = Client::connect(address).await;
    let refused = client.ask("GET", "/v1/jobs", &[], b"").await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("--listen 127.0.0.1:8081"), "{}", refused.text());
}

#[tokio::test]
async fn a_repeated_parameter_is_named() {
    let stack = Stack::start().await;
    for name in ["limit", "status", "before"] {
        let answer = stack.get(&format!("/v1/jobs?{name}=1&{name}=2")).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json()["detail"][0]["loc"], serde_json::json!(["query", name]));
    }
}
