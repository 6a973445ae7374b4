//! Dead jobs.

use std::net::SocketAddr;

use glimpse_api::Config;
use glimpse_shared::job::{Release, Status};
use serde_json::json;

use crate::support::{Client, Stack, accepted};

/// A dead job.
async fn dead(stack: &Stack) -> glimpse_shared::id::JobId {
    let id = stack.submit("poison").await;
    let mut worker = stack.worker();
    for _ in 0..3 {
        let lease = worker.claim().await;
        assert_eq!(lease.job.id, id);
        stack.store.release(&lease, &Release::Fault("out of memory".to_owned())).await.unwrap();
    }
    assert_eq!(stack.status(id).await.status, Status::Failed);
    id
}

#[tokio::test]
async fn the_dead_are_listed() {
    let stack = Stack::start().await;
    assert_eq!(stack.get("/v1/dead").await.json(), json!({ "jobs": [] }));
    let id = dead(&stack).await;
    let listed = json!({ "jobs": [{
        "id": id, "app": "glimpse/demo", "code": "attempts_exhausted",
        "message": "given up after 3 attempts: out of memory",
        "finished_at": "2023-11-14T22:13:20Z", "attempts": 3,
    }] });
    let answer = stack.get("/v1/dead").await;
    assert_eq!((answer.status, answer.json()), (200, listed.clone()));
    assert_eq!(stack.get("/v1/dead?app=glimpse/demo").await.json(), listed);
    assert_eq!(stack.get("/v1/dead?app=glimpse/other").await.json(), json!({ "jobs": [] }));
    let wrong = stack.get("/v1/dead?app=demo").await;
    assert_eq!((wrong.status, &wrong.json()["detail"][0]["loc"]), (422, &json!(["query", "app"])));
}

#[tokio::test]
async fn a_dead_job_is_retried_once() {
    let stack = Stack::start().await;
    let old = dead(&stack).await;
    let path = format!("/v1/dead/{old}/retry");
    let first = stack.post(&path, "").await;
    assert_eq!(first.status, 202);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_ne!(id, old.to_string());
    assert_eq!(first.json(), accepted(&id));
    assert_eq!(first.header("location"), Some(&*format!("/v1/jobs/{id}")));
    assert_eq!(stack.get("/v1/dead").await.json(), json!({ "jobs": [] }));

    let again = stack.post(&path, "").await;
    assert_eq!((again.status, again.json()), (202, first.json()));
    stack.worker().make_next().await;
    let new = stack.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!((&new["status"], &new["retry_of"]), (&json!("completed"), &json!(old)));
    assert_eq!(new["result"]["seed"], 7);
    assert_eq!(stack.post(&path, "").await.json()["id"], json!(id));
    assert_eq!(stack.get(&format!("/v1/jobs/{old}")).await.json()["status"], "failed");
}

#[tokio::test]
async fn only_a_dead_job_is_retried() {
    let stack = Stack::start().await;
    let waiting = stack.submit("a heart").await;
    for id in [waiting.to_string(), "00000000-0000-7000-8000-000000000001".to_owned(), "x".to_owned()] {
        let answer = stack.post(&format!("/v1/dead/{id}/retry"), "").await;
        assert_eq!((answer.status, answer.json()), (404, json!({ "detail": "Job not found" })), "{id}");
    }
}

#[tokio::test]
async fn a_dead_job_that_no_worker_can_do_stays_on_the_list() {
    let stack = Stack::with(Config { queue_limit: 1, ..Config::default() }).await;
    let old = dead(&stack).await;
    let path = format!("/v1/dead/{old}/retry");
    stack.submit("a heart").await;
    let full = stack.post(&path, "").await;
    assert_eq!((full.status, full.header("retry-after")), (429, Some("10")));

    // The app's workers are gone; another API has no cached list of them.
    stack.clock.advance(std::time::Duration::from_secs(61));
    let replica = Stack::over(stack.store.clone(), Config::default(), stack.clock.clone()).await;
    let answer = replica.post(&path, "").await;
    assert_eq!((answer.status, answer.json()["apps"].clone()), (404, json!([])));
    assert_eq!(stack.get("/v1/dead").await.json()["jobs"][0]["id"], json!(old));
}

/// The list gives control over all jobs.
#[tokio::test]
async fn a_host_name_of_another_machine_does_not_see_the_dead() {
    // As after DNS rebinding: a web page's own name leads to this address.
    let stack = Stack::start().await;
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8080", 403),
        ("10.0.0.1", 403),
        ("", 403),
    ] {
        let answer = stack.client().await.ask("GET", "/v1/dead", &[("host", host)], b"").await;
        assert_eq!(answer.status, status, "{host:?}");
    }
}

#[tokio::test]
async fn the_dead_are_shown_where_the_api_listens_on_a_loopback_address_alone() {
    let stack = Stack::start().await;
    let old = dead(&stack).await;
    let over = async |place: &str| {
        Stack::at(place, stack.store.clone(), Config::default(), stack.clock.clone()).await
    };
    let open = over("0.0.0.0:0").await;
    let listed = format!("0.0.0.0:{}", open.address.port());
    let to_open = SocketAddr::from(([127, 0, 0, 1], open.address.port()));
    for (method, path) in [
        ("GET", "/v1/dead".to_owned()),
        ("GET", "/v1/dead?app=x".to_owned()),
        ("POST", format!("/v1/dead/{old}/retry")),
    ] {
        // Even for a client on the same machine.
        let answer = Client::connect(to_open).await.ask(method, &path, &[], b"").await;
        assert_eq!(answer.status, 403, "{method} {path}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&listed) && detail.contains("--listen 127.0.0.1:"), "{detail}");
        assert!(!answer.text().contains(&old.to_string()));
    }
    for place in ["127.0.0.1:0", "127.0.0.2:0", "localhost:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let near = over(place).await;
        assert_eq!(near.get("/v1/dead").await.json()["jobs"][0]["id"], json!(old), "{place}");
    }
}
