//! `GET /v1/jobs/{id}/events`, byte by byte.

use glimpse_shared::{event::Image, id::JobId};

use crate::support::{Stack, Stream, picture};

async fn follow(stack: &Stack, id: JobId, headers: &[(&str, &str)]) -> Stream {
    stack.client().await.stream("GET", &format!("/v1/jobs/{id}/events"), headers, "").await
}

fn preview(seq: u64, step: u32) -> String {
    let image = serde_json::to_string(&picture(&format!("step {step}"))).unwrap();
    let data = format!(r#"{{"type":"preview","attempt":1,"step":{step},"steps":20,"image":{image}}}"#);
    format!("id: {seq}\nevent: preview\ndata: {data}")
}

fn completed(seq: u64) -> String {
    let image = serde_json::to_string(&picture("final 0")).unwrap();
    let rest = r#""seed":7,"timings":{"inference":1.5,"decode":0.25}"#;
    format!("id: {seq}\nevent: completed\ndata: {{\"type\":\"completed\",\"images\":[{image}],{rest}}}")
}

#[tokio::test]
async fn every_event_comes_with_its_number_and_its_kind() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    let mut stream = follow(&stack, id, &[]).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(stream.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    assert_eq!(stream.block().await.unwrap(), "retry: 1000");
    let queued = "id: 1\nevent: queued\ndata: {\"type\":\"queued\",\"position\":0}";
    assert_eq!(stream.block().await.unwrap(), queued);
    let mut lease = worker.claim().await;
    let started = format!(
        "id: 2\nevent: started\ndata: {{\"type\":\"started\",\"attempt\":1,\"worker\":\"{}\"}}",
        lease.worker
    );
    assert_eq!(stream.block().await.unwrap(), started);
    worker.preview(&mut lease, 0).await;
    assert_eq!(stream.block().await.unwrap(), preview(3, 0));
    worker.complete(lease).await;
    assert_eq!(stream.rest().await, [completed(4)]);
}

#[tokio::test]
async fn following_with_a_cursor_repeats_nothing() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    let mut lease = worker.claim().await;
    worker.preview(&mut lease, 0).await;
    worker.preview(&mut lease, 5).await;
    let mut by_header = follow(&stack, id, &[("last-event-id", "3")]).await;
    let path = format!("/v1/jobs/{id}/events?after=3");
    let mut by_query = stack.client().await.stream("GET", &path, &[], "").await;
    let mut by_both = stack.client().await.stream("GET", &path, &[("last-event-id", "4")], "").await;
    worker.complete(lease).await;
    for stream in [&mut by_header, &mut by_query] {
        assert_eq!(stream.block().await.unwrap(), "retry: 1000");
        // When the job has ended, the log holds the terminal event in place of the preview.
        let rest = stream.rest().await;
        assert!(rest == [preview(4, 5), completed(5)] || rest == [": gap".to_owned(), completed(5)]);
    }
    assert_eq!(by_both.rest().await, ["retry: 1000".to_owned(), completed(5)]);
}

#[tokio::test]
async fn a_late_follower_gets_the_terminal_event_alone() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    worker.make_next().await;
    let mut stream = follow(&stack, id, &[]).await;
    assert_eq!(stream.rest().await, ["retry: 1000".to_owned(), completed(7)]);
}

#[tokio::test]
async fn a_cursor_older_than_the_log_gets_a_gap() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    worker.make_next().await;
    for after in ["0", "1", "5"] {
        let mut stream = follow(&stack, id, &[("last-event-id", after)]).await;
        assert_eq!(stream.rest().await, ["retry: 1000".to_owned(), ": gap".to_owned(), completed(7)]);
    }
    let mut stream = follow(&stack, id, &[("last-event-id", "6")]).await;
    assert_eq!(stream.rest().await, ["retry: 1000".to_owned(), completed(7)]);
}

#[tokio::test]
async fn a_cursor_beyond_the_log_gets_one_gap_and_the_end() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    worker.make_next().await;
    let mut stream = follow(&stack, id, &[("last-event-id", "70")]).await;
    assert_eq!(stream.rest().await, ["retry: 1000".to_owned(), ": gap".to_owned(), completed(7)]);
}

#[tokio::test]
async fn a_cursor_at_the_terminal_event_gets_204() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    worker.make_next().await;
    let path = format!("/v1/jobs/{id}/events");
    let by_header = stack.client().await.ask("GET", &path, &[("last-event-id", "7")], b"").await;
    assert_eq!((by_header.status, by_header.body.len()), (204, 0));
    assert_eq!(stack.get(&format!("{path}?after=7")).await.status, 204);
}

#[tokio::test]
async fn a_job_that_the_store_forgot_ends_as_lost() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    let mut lease = worker.claim().await;
    worker.preview(&mut lease, 0).await;
    let mut stream = follow(&stack, id, &[]).await;
    for _ in 0..4 {
        stream.block().await.unwrap();
    }
    // Both before the follower reads, so that it finds neither the job nor its terminal event.
    let (cancelled, forgotten) = tokio::join!(
        stack.store.cancel(id, glimpse_shared::event::CancelledBy::Operator),
        stack.store.forget(id)
    );
    cancelled.unwrap();
    forgotten.unwrap();
    let lost = r#"data: {"type":"failed","code":"job_lost","message":"the store no longer knows the job"}"#;
    assert_eq!(stream.rest().await, [format!("id: 4\nevent: failed\n{lost}")]);
}

#[tokio::test]
async fn a_wrong_cursor_is_named() {
    let stack = Stack::start().await;
    let id = stack.submit("a heart").await;
    let path = format!("/v1/jobs/{id}/events");
    let answer = stack.client().await.ask("GET", &path, &[("last-event-id", "x")], b"").await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["detail"][0]["loc"], serde_json::json!(["header", "last-event-id"]));
    let answer = stack.get(&format!("{path}?after=-1")).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["detail"][0]["loc"], serde_json::json!(["query", "after"]));
}

#[tokio::test]
async fn a_slow_client_gets_the_newest_preview_and_the_end_and_holds_up_nobody() {
    slow_client(Stack::start().await).await;
}

#[tokio::test]
async fn a_slow_client_of_https_gets_the_newest_preview_too() {
    slow_client(Stack::secure().await).await;
}

#[cfg(test)]
async fn slow_client(stack: Stack) {
    let mut worker = stack.worker();
    let id = stack.submit("a heart").await;
    let mut slow = stack.client().await;
    slow.request("GET", &format!("/v1/jobs/{id}/events"), &[], b"").await;
    let mut lease = worker.claim().await;
    let mut quick = follow(&stack, id, &[]).await;
    let large = Image::new("image/jpeg", 128, 128, &vec![7; 2 << 20]);
    for step in 0..12 {
        worker.preview_of(&mut lease, step, large.clone()).await;
        // The fast client receives it before the next one is made.
        let id = format!("id: {}\n", 3 + step);
        while !quick.block().await.unwrap().starts_with(&id) {}
    }
    worker.complete(lease).await;
    assert_eq!(quick.rest().await, [completed(15)]);

    let blocks = slow.opened().await.rest().await;
    let seqs: Vec<u64> = blocks
        .iter()
        .filter_map(|block| block.strip_prefix("id: "))
        .map(|rest| rest.split('\n').next().unwrap().parse().unwrap())
        .collect();
    assert!(seqs.is_sorted() && seqs.len() < 14, "{seqs:?}");
    assert_eq!(seqs[seqs.len() - 2..], [14, 15], "the newest preview and the end");
    assert!(blocks.contains(&": gap".to_owned()));
}
