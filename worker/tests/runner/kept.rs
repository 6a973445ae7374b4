//! Results that are kept in a directory.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use glimpse_shared::{
    event::{Event, Image},
    job::{Release, Status},
    results::{Name, Place, Results},
    store::SharedStore,
};
use glimpse_worker::{engine::Engine, loras::Loras};

use crate::{
    props::{GRACE, memory},
    script::{Running, Script, all, flaky::Flaky, run_keeping, submit, until},
};

/// A worker that keeps results in `folder` for `ttl`, and has no gate.
async fn start(store: &SharedStore, folder: &Path, ttl: Duration) -> (Running, Results) {
    let results = Results::open(Place::Directory(folder.to_owned()), ttl).await.unwrap();
    let script = Script::default();
    script.gate.open();
    let (engine, _) = Engine::start(move || Ok::<_, std::io::Error>(script)).await.unwrap();
    let (running, ready) =
        run_keeping(store, engine, "w", GRACE, GRACE, (Loras::default(), Some(results.clone())));
    ready.await.unwrap();
    (running, results)
}

/// The files of all pictures.
fn files(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for hour in fs::read_dir(folder).unwrap() {
        for file in fs::read_dir(hour.unwrap().path()).unwrap() {
            files.push(file.unwrap().file_name().into_string().unwrap());
        }
    }
    files
}

fn pictures(events: &[Event]) -> &[Image] {
    match events.last() {
        Some(Event::Completed { images, .. }) => images,
        other => panic!("not completed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_written_before_a_client_is_told_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let flaky = Arc::new(Flaky::new(memory(), true));
    let store: SharedStore = flaky.clone();
    flaky.holds_finishes.send_replace(true);
    let (_worker, results) = start(&store, folder.path(), Duration::from_secs(3600)).await;
    let id = submit(&store, "a heart").await;
    until(async || flaky.finishes.load(Ordering::SeqCst) > 0).await;
    assert_eq!(store.status(id).await.unwrap().unwrap().status, Status::Running);
    let written = files(folder.path());
    assert_eq!(written.len(), 2, "they are written and not told: {written:?}");
    flaky.holds_finishes.send_replace(false);

    let events = all(&store, id).await;
    assert_eq!(pictures(&events).len(), 2);
    for image in pictures(&events) {
        let name = Name::of_url(&image.url).expect("a kept picture");
        assert!(image.url.starts_with("/files/") && written.contains(&name.to_string()), "{image:?}");
        assert_eq!((&*image.content_type, image.width, image.height), ("image/jpeg", 16, 8));
        let bytes = results.read(&name).await.unwrap().expect("it is there");
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8().dimensions(), (16, 8));
    }
    let previews = events.iter().filter(|event| matches!(event, Event::Preview { .. }));
    for preview in previews {
        let Event::Preview { image, .. } = preview else { continue };
        assert!(image.url.starts_with("data:"), "previews are inside the events");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_too_old_to_be_told_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let flaky = Arc::new(Flaky::new(memory(), true));
    let store: SharedStore = flaky.clone();
    let (_worker, results) = start(&store, folder.path(), Duration::from_secs(1)).await;
    flaky.holds_finishes.send_replace(true);
    let id = submit(&store, "a heart").await;
    until(async || flaky.finishes.load(Ordering::SeqCst) > 0).await;
    let first = files(folder.path());
    flaky.up.store(false, Ordering::SeqCst);
    flaky.holds_finishes.send_replace(false);
    // The store is away for longer than half of what is added to the time to live.
    until(async || files(folder.path()).len() > first.len()).await;
    flaky.up.store(true, Ordering::SeqCst);
    let events = all(&store, id).await;
    let name = Name::of_url(&pictures(&events)[0].url).unwrap();
    assert!(!first.contains(&name.to_string()), "the first one would expire too early");
    assert!(results.left(&name).unwrap() > Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_picture_cannot_be_written_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("results");
    let flaky = Arc::new(Flaky::new(memory(), true));
    let store: SharedStore = flaky.clone();
    let (_worker, _results) = start(&store, &place, Duration::from_secs(3600)).await;
    fs::remove_dir(&place).unwrap();
    fs::write(&place, b"a file where the directory was").unwrap();
    let id = submit(&store, "a heart").await;
    until(async || !flaky.released.lock().unwrap().is_empty()).await;
    let released = flaky.released.lock().unwrap()[0].clone();
    let (of, Release::Fault(reason)) = &released else { panic!("not a fault: {released:?}") };
    assert_eq!(*of, id);
    assert!(reason.contains("--results") && !reason.contains(place.to_str().unwrap()), "{reason}");
    // It is tried again, and completes once the place is repaired.
    fs::remove_file(&place).unwrap();
    let events = all(&store, id).await;
    assert!(Name::of_url(&pictures(&events)[0].url).is_some());
    assert_eq!(files(&place).len(), 2);
}
