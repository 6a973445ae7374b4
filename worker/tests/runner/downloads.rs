//! A job whose LoRA is downloaded: it does not hold up the job before it, and it can be stopped meanwhile.

use std::{path::Path, sync::mpsc, time::Duration};

use glimpse_shared::{
    event::{CancelledBy, Event, FailureCode},
    job::Status,
    outbound::AddressPolicy,
    store::SharedStore,
};
use glimpse_test_support::files::{Answer, FileServer, lora};
use glimpse_worker::{
    loras::{Downloader, Loras, Shelf, UrlLimits, UrlLoader},
    runner::Ended,
};
use serde_json::json;

use crate::{
    played::{Orders, play_with},
    props::{GRACE, assert_completes, memory},
    script::{Running, all, submit, submit_with, until},
};

fn play(store: &SharedStore, folder: &Path) -> (Running, Orders) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = AddressPolicy::of_hosts(&["127.0.0.1".parse().unwrap()]);
    let limits = UrlLimits { pause: Duration::ZERO, ..UrlLimits::default() };
    let shelf = Shelf::open(folder, 1 << 20).unwrap();
    let downloader = Downloader::new(shelf, None, Some(UrlLoader::new(policy, limits)));
    play_with(store, "w", GRACE, Loras { downloader: Some(downloader.into()), ..Loras::default() })
}

async fn status(store: &SharedStore, id: glimpse_shared::id::JobId) -> Status {
    store.status(id).await.unwrap().unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lora_is_downloaded_while_the_job_before_it_runs() {
    let (store, server, folder) = (memory(), FileServer::start(), tempfile::tempdir().unwrap());
    let (asked, was_asked) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    server.on("/a", [Answer::Hold(lora(1000, 1), asked, gone)]);
    let first = submit(&store, "a heart").await;
    let second = submit_with(&store, "a house", json!([{ "path": server.url("/a") }])).await;
    let (_worker, mut orders) = play(&store, folder.path());
    let one = orders.next().await.begin_last_step();
    tokio::task::spawn_blocking(move || was_asked.recv_timeout(GRACE).unwrap()).await.unwrap();
    one.hand_over();
    assert_completes(&store, first).await;
    assert_eq!(status(&store, second).await, Status::Running);
    orders.assert_empty();
    go.send(()).unwrap();
    // It finds the file.
    orders.next().await.begin().hand_over();
    assert_completes(&store, second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_a_download_and_the_next_job_is_claimed() {
    let (store, server, folder) = (memory(), FileServer::start(), tempfile::tempdir().unwrap());
    server.on("/a", [Answer::Hang(1000, Vec::new())]);
    let id = submit_with(&store, "a house", json!([{ "path": server.url("/a") }])).await;
    let (_worker, mut orders) = play(&store, folder.path());
    until(async || server.requests().len() == 1).await;
    let other = submit(&store, "a heart").await;
    orders.assert_empty();
    store.cancel(id, CancelledBy::Client).await.unwrap();
    orders.next().await.begin().hand_over();
    assert_completes(&store, other).await;
    assert!(matches!(all(&store, id).await.last(), Some(Event::Cancelled { .. })));
    until(async || server.gone_away() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_gives_a_job_back_whose_lora_is_not_here_yet() {
    let (store, server, folder) = (memory(), FileServer::start(), tempfile::tempdir().unwrap());
    server.on("/a", [Answer::Hang(1000, Vec::new())]);
    let id = submit_with(&store, "a house", json!([{ "path": server.url("/a") }])).await;
    let (mut worker, _orders) = play(&store, folder.path());
    until(async || server.requests().len() == 1).await;
    worker.drain();
    assert_eq!(worker.end().await, Ended::Drained);
    assert_eq!(status(&store, id).await, Status::Queued);
    until(async || server.gone_away() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lora_that_cannot_be_loaded_fails_its_job_alone() {
    let (store, server, folder) = (memory(), FileServer::start(), tempfile::tempdir().unwrap());
    server.on("/a", [Answer::File(b"<!DOCTYPE html>".to_vec())]);
    let id = submit_with(&store, "a house", json!([{ "path": server.url("/a?token=swordfish") }])).await;
    let (_worker, mut orders) = play(&store, folder.path());
    let events = all(&store, id).await;
    let Some(Event::Failed { code, message, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(*code, FailureCode::BadRequest);
    assert!(
        message.contains("neither a LoRA nor an embedding") && !message.contains("swordfish"),
        "{message}"
    );
    let other = submit(&store, "a heart").await;
    orders.next().await.begin().hand_over();
    assert_completes(&store, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_files_never_claims_a_job_with_one() {
    let store = memory();
    let id = submit_with(&store, "a house", json!([{ "path": "ink" }])).await;
    let other = submit(&store, "a heart").await;
    let (_worker, mut orders) = play_with(&store, "w", GRACE, Loras::default());
    orders.next().await.begin().hand_over();
    assert_completes(&store, other).await;
    assert_eq!(status(&store, id).await, Status::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_loads_no_urls_never_claims_a_job_with_one() {
    let store = memory();
    let id = submit_with(&store, "a house", json!([{ "path": "http://example.com/a" }])).await;
    let other = submit(&store, "a heart").await;
    let (_worker, mut orders) = play_with(&store, "w", GRACE, Loras::default());
    orders.next().await.begin().hand_over();
    assert_completes(&store, other).await;
    assert_eq!(status(&store, id).await, Status::Queued);
}
