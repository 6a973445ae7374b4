//! Our own routes, except the events.

use glimpse_shared::{
    event::FailureCode,
    id::{JobId, KeySecret},
    job::{Progress, Status, WorkerRecord, WorkerState},
};
use serde_json::json;

use crate::support::{Stack, accepted, demo, picture, record};

const BODY: &str = r#"{"app":"glimpse/demo","prompt":"a heart","seed":7}"#;

#[tokio::test]
async fn a_submit_returns_the_urls_of_its_job() {
    let stack = Stack::start().await;
    let first = stack.post("/v1/jobs", BODY).await;
    assert_eq!(first.status, 202);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(first.json(), accepted(&id));
    assert_eq!(first.header("location"), Some(&*format!("/v1/jobs/{id}")));
    let second = stack.post("/v1/jobs", BODY).await.json();
    assert_eq!(second["position"], 1);
    assert_ne!(second["id"], id);
}

#[tokio::test]
async fn a_job_of_our_own_route_continues_after_a_disconnect() {
    let mut stack = Stack::start().await;
    let id = stack.submit("a heart").await;
    let stream = stack.client().await.stream("GET", &format!("/v1/jobs/{id}/events"), &[], "").await;
    drop(stream);
    stack.shut_down().await;
    assert_eq!(stack.status(id).await.status, Status::Queued);
}

#[tokio::test]
async fn the_life_of_a_job_can_be_read() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    let path = format!("/v1/jobs/{id}");
    let created = "2023-11-14T22:13:20Z";
    assert_eq!(
        stack.get(&path).await.json(),
        json!({
            "id": id, "app": "glimpse/demo", "status": "queued", "position": 0, "workers": 1,
            "created_at": created,
        })
    );
    assert_eq!(stack.get(&format!("{path}/image")).await.status, 404);

    let mut lease = worker.claim().await;
    let worker_id = lease.worker.clone();
    worker.preview(&mut lease, 5).await;
    assert_eq!(
        stack.get(&path).await.json(),
        json!({
            "id": id, "app": "glimpse/demo", "status": "running", "attempt": 1, "worker": worker_id,
            "progress": { "step": 5, "steps": 20 }, "created_at": created, "started_at": created,
        })
    );
    let image = stack.get(&format!("{path}/image")).await;
    assert_eq!((image.status, image.header("content-type")), (200, Some("image/jpeg")));
    assert_eq!(image.body, b"step 5");

    worker.complete(lease).await;
    let done = stack.get(&path).await.json();
    assert_eq!(done["status"], "completed");
    assert_eq!(done["result"], json!({ "images": [picture("final 0")], "seed": 7 }));
    assert_eq!(done["finished_at"], created);
    assert!(done.get("error").is_none());
    assert_eq!(stack.get(&format!("{path}/image")).await.body, b"final 0");
}

#[tokio::test]
async fn a_failed_job_says_why() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    let lease = worker.claim().await;
    worker.fail(lease, FailureCode::BadRequest, "too strange").await;
    let job = stack.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!(job["status"], "failed");
    assert_eq!(job["error"], json!({ "code": "bad_request", "message": "too strange" }));
    assert!(job.get("result").is_none());
    assert_eq!(stack.get(&format!("/v1/jobs/{id}/image")).await.status, 404);
}

#[tokio::test]
async fn a_cancel_is_immediate_and_may_be_asked_for_again() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let waiting = stack.submit("a heart").await;
    let path = format!("/v1/jobs/{waiting}");
    for _ in 0..2 {
        let answer = stack.ask("DELETE", &path, "").await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "id": waiting, "status": "cancelled" })));
    }
    let newest = stack.newest(waiting).await;
    assert_eq!(newest.json(), r#"{"type":"cancelled","by":"client"}"#);

    let done = stack.submit("a heart").await;
    worker.make_next().await;
    let answer = stack.ask("DELETE", &format!("/v1/jobs/{done}"), "").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "id": done, "status": "completed" })));
}

#[tokio::test]
async fn the_same_key_is_the_same_job() {
    let stack = Stack::start().await;
    let key = [("idempotency-key", "order 66")];
    let send = async |body: &str| stack.client().await.ask("POST", "/v1/jobs", &key, body.as_bytes()).await;
    let first = send(BODY).await;
    assert_eq!(first.status, 202);
    let again = send(r#"{ "seed": 7, "prompt": "a heart", "app": "glimpse/demo" }"#).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json(), first.json());
    assert_eq!(again.header("location"), first.header("location"));

    let other = send(r#"{"app":"glimpse/demo","prompt":"a circle"}"#).await;
    assert_eq!(other.status, 422);
    assert_eq!(other.json()["detail"][0]["loc"], json!(["header", "idempotency-key"]));

    // The app has no workers now, but the job exists.
    stack.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(send(BODY).await.status, 200);
}

/// A key such as `1` is easy to guess, and a job's id gives control over it.
#[tokio::test]
async fn a_guessed_key_does_not_reveal_another_job() {
    let stack = Stack::start().await;
    let key = [("idempotency-key", "1")];
    let send = async |stack: &Stack, body: &str| {
        stack.client().await.ask("POST", "/v1/jobs", &key, body.as_bytes()).await
    };
    let mine = send(&stack, BODY).await;
    assert_eq!(mine.status, 202);
    let id = mine.json()["id"].as_str().unwrap().to_owned();

    // The same key with another request: the error contains nothing of the job.
    let other = send(&stack, r#"{"app":"glimpse/demo","prompt":"a heart","seed":8}"#).await;
    assert_eq!((other.status, &other.json()["detail"][0]["type"]), (422, &json!("idempotency_conflict")));
    assert!(!other.text().contains(&id) && !other.text().contains("heart"), "{}", other.text());
    let elsewhere = r#"{"app":"glimpse/other","prompt":"a heart","seed":7}"#;
    assert_eq!(send(&stack, elsewhere).await.status, 404, "another app's keys are others");

    // The id depends on the fleet's secret: other fleets compute other ids.
    let guess = JobId::from_key(&KeySecret::random(), &demo(), "anonymous", "1");
    assert_eq!(stack.get(&format!("/v1/jobs/{guess}")).await.status, 404);
    let fleet = Stack::start().await;
    assert_ne!(send(&fleet, BODY).await.json()["id"], json!(id));

    // Every API of the fleet computes the same id.
    let replica = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    let again = send(&replica, BODY).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &json!(id)));
}

#[tokio::test]
async fn a_key_must_be_readable() {
    let stack = Stack::start().await;
    let long = "k".repeat(256);
    for key in ["", "caf\u{e9}", &long] {
        let mut client = stack.client().await;
        let answer = client.ask("POST", "/v1/jobs", &[("idempotency-key", key)], BODY.as_bytes()).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["header", "idempotency-key"]));
    }
}

#[tokio::test]
async fn timeouts_are_members_of_the_body() {
    let stack = Stack::start().await;
    let body = r#"{"app":"glimpse/demo","prompt":"a heart","start_timeout":2,"run_timeout":0.5}"#;
    assert_eq!(stack.post("/v1/jobs", body).await.status, 202);
    let job = stack.worker().claim().await.job;
    assert_eq!((job.start_timeout.as_secs_f64(), job.run_timeout.as_secs_f64()), (2.0, 0.5));
    for (field, value) in
        [("start_timeout", "0"), ("run_timeout", "-1"), ("run_timeout", "1e9"), ("start_timeout", r#""2""#)]
    {
        let body = format!(r#"{{"app":"glimpse/demo","prompt":"a heart","{field}":{value}}}"#);
        let answer = stack.post("/v1/jobs", &body).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", field]));
    }
}

#[tokio::test]
async fn a_full_queue_is_429_on_every_submitting_route() {
    let config = glimpse_api::Config { queue_limit: 1, ..Default::default() };
    let stack = Stack::with(config.clone()).await;
    stack.submit("a heart").await;
    for path in ["/v1/jobs", "/glimpse/demo", "/glimpse/demo/stream"] {
        let body = if path == "/v1/jobs" { BODY } else { r#"{"prompt":"a heart"}"# };
        let answer = stack.post(path, body).await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("retry-after"), Some("10"));
        assert!(answer.json()["detail"].is_string());
    }

    // Then the measured time counts, divided by the number of workers.
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    stack.clock.advance(std::time::Duration::from_secs(25));
    worker.complete(lease).await;
    stack.submit("a heart").await;
    stack.store.heartbeat(&record("two", &demo())).await.unwrap();
    let replica = Stack::over(stack.store.clone(), config, stack.clock.clone()).await;
    assert_eq!(replica.post("/v1/jobs", BODY).await.header("retry-after"), Some("13"));
}

#[tokio::test]
async fn workers_are_listed_for_thirty_seconds_and_their_app_is_served_for_sixty() {
    let stack = Stack::start().await;
    let listed = stack.get("/v1/workers").await.json();
    let mut expected = serde_json::to_value(record("one", &demo())).unwrap();
    expected["last_seen"] = json!("2023-11-14T22:13:20Z");
    assert_eq!(listed, json!({ "workers": [expected] }));

    stack.clock.advance(std::time::Duration::from_secs(31));
    assert_eq!(stack.get("/v1/workers").await.json(), json!({ "workers": [] }));
    assert_eq!(stack.post("/v1/jobs", BODY).await.status, 202);
}

#[tokio::test]
async fn a_busy_worker_is_listed_with_how_far_it_is_and_without_its_job() {
    let stack = Stack::start().await;
    let id = stack.submit("a heart").await;
    let lease = stack.worker().claim().await;
    assert_eq!(lease.job.id, id);
    let progress = Some(Progress { step: 4, steps: 20 });
    let busy = WorkerRecord { state: WorkerState::Busy, progress, ..record("one", &demo()) };
    stack.store.heartbeat(&busy).await.unwrap();
    let answer = stack.get("/v1/workers").await;
    let worker = answer.json()["workers"][0].clone();
    assert_eq!((&worker["id"], &worker["state"]), (&json!("one"), &json!("busy")));
    assert_eq!(worker["progress"], json!({ "step": 4, "steps": 20 }));
    assert!(worker.get("job").is_none() && !answer.text().contains(&id.to_string()), "{}", answer.text());
    // As in the previous release.
    let text = serde_json::to_string(&busy)
        .unwrap()
        .replace("\"progress\"", &format!("\"job\":\"{id}\",\"progress\""));
    let before: WorkerRecord = serde_json::from_str(&text).unwrap();
    assert_eq!(before, busy);
}

#[tokio::test]
async fn an_app_whose_workers_are_long_gone_is_404() {
    let stack = Stack::start().await;
    stack.clock.advance(std::time::Duration::from_secs(61));
    let answer = stack.post("/v1/jobs", BODY).await;
    assert_eq!(answer.status, 404);
    let detail = "No worker serves the app glimpse/demo. No apps are available at the moment";
    assert_eq!(answer.json(), json!({ "detail": detail, "apps": [] }));
}

#[tokio::test]
async fn a_waiting_job_says_how_many_may_take_it() {
    let stack = Stack::start().await;
    let draining = WorkerRecord { state: WorkerState::Draining, ..record("two", &demo()) };
    stack.store.heartbeat(&draining).await.unwrap();
    stack.store.heartbeat(&record("three", &"glimpse/other".parse().unwrap())).await.unwrap();
    let id = stack.submit("a heart").await;
    let path = format!("/v1/jobs/{id}");
    assert_eq!(stack.get(&path).await.json()["workers"], 1);

    // All workers are gone; another API has no cached list of them.
    stack.clock.advance(std::time::Duration::from_secs(31));
    let replica = Stack::over(stack.store.clone(), Default::default(), stack.clock.clone()).await;
    let job = replica.get(&path).await.json();
    assert_eq!((&job["status"], &job["workers"]), (&json!("queued"), &json!(0)));
    stack.clock.advance(std::time::Duration::from_secs(3600));
    stack.store.reap(stack.store.now().await.unwrap()).await.unwrap();
    let job = replica.get(&path).await.json();
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("start_timeout")));
    assert!(job.get("workers").is_none());
}

#[tokio::test]
async fn an_app_is_served_as_soon_as_its_worker_is_on_record() {
    let stack = Stack::start().await;
    let body = r#"{"app":"glimpse/other","prompt":"a heart"}"#;
    let unknown = stack.post("/v1/jobs", body).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(
        unknown.json(),
        json!({
            "detail": "No worker serves the app glimpse/other. Available apps: glimpse/demo",
            "apps": ["glimpse/demo"],
        })
    );
    stack.store.heartbeat(&record("two", &"glimpse/other".parse().unwrap())).await.unwrap();
    assert_eq!(stack.post("/v1/jobs", body).await.status, 202);
}
