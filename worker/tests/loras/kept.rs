//! What is kept of URLs, and when it is deleted.

use std::time::Duration;

use glimpse_test_support::files::{Answer, FileServer, lora};
use glimpse_worker::loras::{Downloader, Shelf, UrlLoader};

use crate::props::{Story, limits, only, parse};

#[tokio::test]
async fn a_damaged_file_is_downloaded_again() {
    let (story, server) = (Story::new(), FileServer::start());
    server.on("/a", [Answer::File(lora(1000, 1))]);
    let url = server.url("/a");
    story.load(&url).await.unwrap();
    let kept = story.folder.path().join("urls").join(story.files().first().unwrap());
    for damage in [&lora(1000, 1)[..500], b"<html>", b""] {
        std::fs::write(&kept, damage).unwrap();
        server.requests();
        assert_eq!(story.load(&url).await, Ok(lora(1000, 1)));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn the_least_recently_used_makes_room_but_none_in_use() {
    let (mut story, server) = (Story::new(), FileServer::start());
    let shelf = Shelf::open(story.folder.path(), 2500).unwrap();
    story.downloader = Downloader::new(shelf, None, Some(UrlLoader::new(only("127.0.0.1"), limits()))).into();
    for path in ["/a", "/b", "/c"] {
        server.on(path, [Answer::File(lora(1000, 1))]);
    }
    let in_use = story.hold(&server.url("/a")).await.unwrap();
    story.load(&server.url("/b")).await.unwrap();
    story.load(&server.url("/c")).await.unwrap();
    assert_eq!(story.files().len(), 2);
    server.requests();
    // The first is in use, and the third is the newest.
    for path in ["/a", "/c"] {
        story.load(&server.url(path)).await.unwrap();
    }
    assert_eq!(server.requests().len(), 0);
    drop(in_use);
    story.load(&server.url("/b")).await.unwrap();
    assert_eq!((server.requests().len(), story.files().len()), (1, 2));
}

#[tokio::test]
async fn two_that_want_the_same_url_download_it_once() {
    let (story, server) = (Story::new(), FileServer::start());
    let file = lora(50_000, 5);
    let (asked, was_asked) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel();
    server.on("/a", [Answer::Hold(file.clone(), asked, gone)]);
    let url = server.url("/a");
    let other = Story { folder: tempfile::tempdir().unwrap(), downloader: story.downloader.clone() };
    let (one, two) = (story.load(&url), async {
        tokio::task::spawn_blocking(move || was_asked.recv_timeout(Duration::from_secs(30)).unwrap())
            .await
            .unwrap();
        // The second asks before the first has the file.
        let (second, _) = tokio::join!(other.load(&url), async { go.send(()).unwrap() });
        second
    });
    let (one, two) = tokio::join!(one, two);
    assert_eq!((one, two), (Ok(file.clone()), Ok(file)));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_download_that_nobody_waits_for_stops_and_leaves_nothing() {
    let (story, server) = (Story::new(), FileServer::start());
    let file = lora(100_000, 5);
    server.on("/a", [Answer::Hang(file.len() as u64, file[..50_000].to_vec())]);
    let download = tokio::spawn(story.downloader.clone().download(vec![parse(&server.url("/a"))]));
    let has = |wanted: usize| move |story: &Story| story.files().len() == wanted;
    wait(|| has(1)(&story)).await;
    download.abort();
    wait(|| has(0)(&story) && server.gone_away() == 1).await;
}

async fn wait(mut so: impl FnMut() -> bool) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("in time");
}
