//! Streams of OpenAI's routes, byte by byte.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::{
    event::FailureCode,
    job::{Release, Status},
    store::Lease,
};
use serde_json::{Value, json};

use crate::{
    openai::PATH,
    support::{Client, Stack, Worker},
};

/// The name and the data of an event, which must be all of it.
fn event(block: &str) -> (String, Value) {
    let (name, data) = block.split_once('\n').unwrap();
    let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    (name.strip_prefix("event: ").unwrap().to_owned(), data)
}

/// Checks an event about a picture with this name.
fn check(block: &str, kind: &str, index: Option<u32>, picture: &str) {
    let (name, mut data) = event(block);
    assert_eq!(data["type"], name);
    let created = data.as_object_mut().unwrap().remove("created_at").unwrap();
    assert!(created.as_u64().unwrap() > 1_700_000_000);
    let mut expected = json!({
        "type": kind, "b64_json": STANDARD.encode(picture), "size": "128x128", "quality": "auto",
        "background": "opaque", "output_format": "png",
    });
    if let Some(index) = index {
        expected["partial_image_index"] = index.into();
    }
    assert_eq!(data, expected);
}

fn check_partial(block: &str, index: u32) {
    check(block, "image_generation.partial_image", Some(index), &format!("partial {index}"));
}

/// A client of a stream, and the worker that has its job.
async fn asked(stack: &Stack, body: &str) -> (Client, Worker, Lease) {
    let mut client = stack.client().await;
    client.request("POST", PATH, &[], body.as_bytes()).await;
    let mut worker = stack.worker();
    let lease = worker.claim().await;
    (client, worker, lease)
}

const THREE: &str = r#"{"prompt":"a heart","stream":true,"partial_images":3}"#;

#[tokio::test]
async fn partial_pictures_come_as_they_form_and_then_the_picture() {
    let stack = Stack::start().await;
    let (client, worker, mut lease) = asked(&stack, THREE).await;
    worker.partial(&mut lease, 4).await;
    let mut stream = client.opened().await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(stream.header("x-request-id"), Some(&*lease.job.id.to_string()));
    check_partial(&stream.event().await.unwrap(), 0);
    for (index, step) in [(1, 9), (2, 14)] {
        // Previews are not for this client.
        worker.preview(&mut lease, step - 1).await;
        worker.partial(&mut lease, step).await;
        check_partial(&stream.event().await.unwrap(), index);
    }
    worker.complete(lease).await;
    let rest = stream.rest().await;
    assert_eq!(rest.len(), 1);
    check(&rest[0], "image_generation.completed", None, "final 0");
}

#[tokio::test]
async fn no_partial_picture_is_missing_if_the_job_ends_at_once() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    for partials in 0..=3 {
        let body = json!({ "prompt": "x", "stream": true, "partial_images": partials, "n": 2 }).to_string();
        let mut stream = stack.client().await.stream("POST", PATH, &[], &body).await;
        let blocks = stream.rest().await;
        assert_eq!(blocks.len() as u32, partials + 2, "{blocks:?}");
        (0..partials).for_each(|index| check_partial(&blocks[index as usize], index));
        for (at, name) in [(partials, "final 0"), (partials + 1, "final 1")] {
            check(&blocks[at as usize], "image_generation.completed", None, name);
        }
    }
}

#[tokio::test]
async fn each_index_comes_once_also_after_a_lost_worker() {
    let stack = Stack::start().await;
    let (client, worker, mut lease) = asked(&stack, THREE).await;
    worker.partial(&mut lease, 4).await;
    worker.partial(&mut lease, 9).await;
    let mut stream = client.opened().await;
    stack.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    // The next worker makes all of them again.
    stack.worker().make_next().await;
    let blocks = stream.rest().await;
    let blocks: Vec<_> = blocks.iter().filter(|block| !block.starts_with(':')).collect();
    assert_eq!(blocks.len(), 4, "{blocks:?}");
    (0..3).for_each(|index| check_partial(blocks[index as usize], index));
    check(blocks[3], "image_generation.completed", None, "final 0");
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_job() {
    let stack = Stack::start().await;
    let (client, worker, mut lease) = asked(&stack, THREE).await;
    worker.partial(&mut lease, 4).await;
    let mut stream = client.opened().await;
    stream.event().await.unwrap();
    drop(stream);
    stack.until(lease.job.id, Status::Cancelled).await;
}

#[tokio::test]
async fn an_error_has_a_status_before_the_first_event_and_is_an_event_after_it() {
    let stack = Stack::start().await;
    let (mut client, worker, lease) = asked(&stack, THREE).await;
    worker.fail(lease, FailureCode::BadRequest, "too wide").await;
    let answer = client.answer("POST").await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("bad_request")));

    let (client, worker, mut lease) = asked(&stack, THREE).await;
    worker.partial(&mut lease, 4).await;
    let mut stream = client.opened().await;
    stream.event().await.unwrap();
    worker.fail(lease, FailureCode::Internal, "it broke").await;
    let (name, data) = event(&stream.event().await.unwrap());
    assert_eq!((&*name, &data["type"]), ("error", &json!("error")));
    assert_eq!(
        data["error"],
        json!({ "message": "it broke", "type": "server_error", "param": null, "code": "internal" })
    );
    assert_eq!(stream.next().await, Err(()), "the body has no end");
}
