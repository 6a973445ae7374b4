//! Large requests and responses are processed on blocking threads. Here there is one such thread, and while it is busy
//! other clients are served.

use std::{sync::mpsc, time::Duration};

use glimpse_shared::event::Image;
use tokio::{runtime::Builder, task::spawn_blocking, time::timeout};

use crate::support::{Client, Stack};

fn with_one_thread_for_long_work(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap().block_on(test);
}

/// Blocks that thread until the sender is dropped.
fn busy() -> mpsc::Sender<()> {
    let (busy, ended) = mpsc::channel();
    spawn_blocking(move || ended.recv());
    busy
}

/// Checks that a client gets no response, while other clients do.
async fn assert_waits(stack: &Stack, client: &mut Client, what: &str) {
    for _ in 0..50 {
        assert_eq!(stack.post("/v1/jobs", "{").await.status, 422, "{what}");
    }
    let answered = timeout(Duration::from_millis(1), client.more()).await.is_ok();
    assert!(!answered, "{what} was not processed on a blocking thread");
}

#[test]
fn large_requests_do_not_delay_other_clients() {
    with_one_thread_for_long_work(async {
        let stack = Stack::start().await;
        let long = "a".repeat(4 << 20);
        for (path, body) in [
            ("/v1/jobs", format!(r#"{{"app":"glimpse/demo","prompt":"{long}"}}"#)),
            ("/v1/jobs", format!(r#"{{"prompt":"a heart","{long}":1}}"#)),
            ("/v1/jobs", format!(r#"["{long}"]"#)),
            ("/v1/jobs", format!(r#"{{"prompt":"{long}"#)),
            ("/glimpse/demo", format!(r#"{{"prompt":"{long}"}}"#)),
            ("/glimpse/demo/stream", format!(r#"{{"unknown":["{long}"],"seed":-1}}"#)),
        ] {
            let busy = busy();
            let mut client = stack.client().await;
            client.request("POST", path, &[], body.as_bytes()).await;
            assert_waits(&stack, &mut client, path).await;
            drop(busy);
            assert_eq!(client.answer("POST").await.status, 422, "{path}");
        }
    });
}

#[test]
fn large_responses_do_not_delay_other_clients() {
    with_one_thread_for_long_work(async {
        let stack = Stack::start().await;
        let mut worker = stack.worker();
        let picture = || vec![Image::new("image/png", 128, 128, &vec![7; 1 << 20])];
        for path in ["/glimpse/demo", "/glimpse/demo/stream"] {
            let mut client = stack.client().await;
            client.request("POST", path, &[], br#"{"prompt":"a heart"}"#).await;
            let lease = worker.claim().await;
            let busy = busy();
            worker.complete_with(lease, picture()).await;
            assert_waits(&stack, &mut client, path).await;
            drop(busy);
            let answer = client.answer("POST").await;
            assert!(answer.status == 200 && answer.body.len() > 1 << 20, "{path}");
        }
        let id = stack.submit("a heart").await;
        let lease = worker.claim().await;
        worker.complete_with(lease, picture()).await;
        for path in [format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/image")] {
            let busy = busy();
            let mut client = stack.client().await;
            client.request("GET", &path, &[], b"").await;
            assert_waits(&stack, &mut client, &path).await;
            drop(busy);
            let answer = client.answer("GET").await;
            assert!(answer.status == 200 && answer.body.len() >= 1 << 20, "{path}");
        }
    });
}
