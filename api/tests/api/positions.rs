//! The position of a waiting job, told as it moves.

use glimpse_shared::job::Status;

use crate::support::{Stack, Stream};

async fn follow(stack: &Stack, id: glimpse_shared::id::JobId) -> Stream {
    let mut stream = stack.client().await.stream("GET", &format!("/v1/jobs/{id}/events"), &[], "").await;
    assert_eq!(stream.block().await.unwrap(), "retry: 1000");
    stream
}

/// The event that is in the log.
fn queued(position: u64) -> String {
    format!("id: 1\n{}", moved(position))
}

/// The event that only tells the new position.
fn moved(position: u64) -> String {
    format!("event: queued\ndata: {{\"type\":\"queued\",\"position\":{position}}}")
}

#[tokio::test]
async fn a_waiting_job_is_told_each_new_position_without_a_number() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    for prompt in ["one", "two"] {
        stack.submit(prompt).await;
    }
    let id = stack.submit("three").await;
    let mut stream = follow(&stack, id).await;
    assert_eq!(stream.block().await.unwrap(), queued(2));
    worker.make_next().await;
    assert_eq!(stream.block().await.unwrap(), moved(1));
    worker.make_next().await;
    assert_eq!(stream.block().await.unwrap(), moved(0));
    // One that comes later gets the event of the log, which is old, and then the position of now.
    let mut late = follow(&stack, id).await;
    assert_eq!(late.block().await.unwrap(), queued(2));
    assert_eq!(late.block().await.unwrap(), moved(0));
    let lease = worker.claim().await;
    for stream in [&mut stream, &mut late] {
        assert!(stream.block().await.unwrap().starts_with("id: 2\nevent: started\n"));
    }
    worker.complete(lease).await;
    let rest = stream.rest().await;
    assert!(rest.len() == 1 && rest[0].starts_with("id: 3\nevent: completed\n"), "{rest:?}");
}

#[tokio::test]
async fn a_job_that_waits_again_is_told_its_positions_again() {
    let stack = Stack::start().await;
    let first = stack.submit("one").await;
    let id = stack.submit("two").await;
    let mut stream = follow(&stack, id).await;
    assert_eq!(stream.block().await.unwrap(), queued(1));
    let leases = [stack.worker().claim().await, stack.worker().claim().await];
    assert_eq!(leases.map(|lease| lease.job.id), [first, id]);
    let started = async |stream: &mut Stream| loop {
        let block = stream.block().await.unwrap();
        if block.contains("event: started") {
            return;
        }
        assert_eq!(block, moved(0));
    };
    started(&mut stream).await;
    stack.clock.advance(stack.lease());
    stack.store.reap(stack.store.now().await.unwrap()).await.unwrap();
    assert_eq!(stack.status(id).await.status, Status::Queued);
    assert!(stream.block().await.unwrap().ends_with(&moved(1)));
    stack.store.cancel(first, glimpse_shared::event::CancelledBy::Client).await.unwrap();
    assert_eq!(stream.block().await.unwrap(), moved(0));
}
