//! What is downloaded from a URL, and what is refused.

use std::sync::Arc;

use glimpse_shared::outbound::AddressPolicy;
use glimpse_test_support::files::{Answer, FileServer, lora, safetensors};
use glimpse_worker::loras::LoraError;

use crate::props::{MOST, SECRET, Story, downloader, parse};

#[tokio::test]
async fn a_url_is_downloaded_once() {
    let (story, server) = (Story::new(), FileServer::start());
    server.on("/a.safetensors", [Answer::Redirect("/b".to_owned())]);
    server.on("/b", [Answer::File(lora(50_000, 7))]);
    let url = server.url(&format!("/a.safetensors?token={SECRET}"));
    assert_eq!(story.load(&url).await, Ok(lora(50_000, 7)));
    let asked = server.requests();
    assert_eq!(asked.len(), 2);
    for head in &asked {
        let head = head.to_ascii_lowercase();
        assert!(
            !head.contains("authorization") && !head.contains("cookie") && !head.contains("referer"),
            "{head}"
        );
    }
    assert_eq!(story.load(&url).await, Ok(lora(50_000, 7)));
    assert_eq!(server.requests(), Vec::<String>::new());
    // Another query may be another file.
    story.load(&server.url("/a.safetensors?other")).await.unwrap();
    assert_eq!((server.requests().len(), story.files().len()), (2, 2));
    assert!(story.files().iter().all(|name| name.ends_with(".safetensors") && !name.contains(SECRET)));
}

#[tokio::test]
async fn what_is_not_a_lora_is_refused_before_its_body_arrives() {
    let (story, server) = (Story::new(), FileServer::start());
    let other = safetensors("conv_in.weight", 1000, 0);
    let huge = {
        let data = MOST;
        let name = "lora_unet_x.lora_up.weight";
        let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[{data}],"data_offsets":[0,{data}]}}}}"#);
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
    };
    for (begin, length, part) in [
        (b"<!DOCTYPE html><html>".to_vec(), 1000, "not a safetensors file"),
        (other[..other.len() - 1000].to_vec(), other.len() as u64, "no tensor"),
        // The server lies about the length.
        (huge, MOST, "at most 1048576"),
    ] {
        server.on("/x", [Answer::Hang(length, begin)]);
        let why = story.refusal(&server.url(&format!("/x?{SECRET}"))).await;
        assert!(why.starts_with(&server.url("/x: ")) && why.contains(part), "{why}");
        assert_eq!((server.requests().len(), story.files().len()), (1, 0), "{part}");
    }
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_by_its_length() {
    let (story, server) = (Story::new(), FileServer::start());
    server.on("/x", [Answer::Hang(MOST + 1, Vec::new())]);
    let why = story.refusal(&server.url("/x")).await;
    assert!(why.contains("1048577 bytes") && why.contains("at most 1048576"), "{why}");
    assert_eq!(story.files().len(), 0);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_called() {
    let (story, server) = (Story::new(), FileServer::start());
    let port = server.url("/").rsplit(':').next().unwrap().to_owned();
    for to in
        [format!("http://localhost:{port}x"), "http://10.0.0.1/".to_owned(), "file:///etc/passwd".to_owned()]
    {
        server.on("/a", [Answer::Redirect(to.clone())]);
        for (url, asked) in [(server.url(&format!("/a?{SECRET}")), 1), (to, 0)] {
            // Not every target is the path of a LoRA.
            if !url.starts_with("http") {
                continue;
            }
            let why = story.refusal(&url).await;
            assert!(why.contains("is not allowed") && why.contains("--allow-lora-hosts"), "{why}");
            assert_eq!(server.requests().len(), asked, "{url}");
        }
    }
    // A name of the public whose address is private.
    let lookup = Arc::new(|_| {
        let addresses = vec!["127.0.0.1:0".parse().unwrap()];
        Box::pin(std::future::ready(Ok(addresses))) as _
    });
    let policy = AddressPolicy::of_hosts(&[]).with_lookup(lookup);
    let downloader = downloader(story.folder.path(), policy, None);
    let url = format!("http://example.com:{port}a?{SECRET}");
    match downloader.download(vec![parse(&url)]).await {
        Err(LoraError::Bad(why)) => {
            assert!(why.contains("is not allowed") && !why.contains(SECRET), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_kept_file_of_a_host_that_is_not_allowed_any_more_is_not_used() {
    let (story, server) = (Story::new(), FileServer::start());
    server.on("/a", [Answer::File(lora(10, 1))]);
    let url = server.url("/a");
    story.load(&url).await.unwrap();
    let now = downloader(story.folder.path(), AddressPolicy::of_hosts(&[]), None);
    assert!(matches!(now.download(vec![parse(&url)]).await, Err(LoraError::Bad(_))));
}

#[tokio::test]
async fn a_cut_connection_and_a_busy_server_are_tried_again() {
    let (story, server) = (Story::new(), FileServer::start());
    let file = lora(50_000, 3);
    server.on("/a", [Answer::Cut(file.clone(), 30_000), Answer::Status(503), Answer::File(file.clone())]);
    assert_eq!(story.load(&server.url("/a")).await, Ok(file.clone()));
    assert_eq!(server.requests().len(), 3);

    let cut = || Answer::Cut(file.clone(), 100);
    server.on("/b", [cut(), cut(), cut(), Answer::File(file.clone())]);
    let why = story.refusal(&server.url(&format!("/b?{SECRET}"))).await;
    assert!(why.contains("after 3 tries"), "{why}");
    assert_eq!((server.requests().len(), story.files().len()), (3, 1));

    // Silence.
    server.on("/c", [Answer::Hang(file.len() as u64, file[..200].to_vec()), Answer::File(file.clone())]);
    assert_eq!(story.load(&server.url("/c")).await, Ok(file));
}

#[tokio::test]
async fn a_url_that_leads_nowhere_says_why() {
    let (story, server) = (Story::new(), FileServer::start());
    server.on("/loop", [Answer::Redirect("/loop".to_owned())]);
    for (path, asked, part) in [("/none", 1, "answers 404"), ("/loop", 6, "more than 5 redirects")] {
        let why = story.refusal(&server.url(&format!("{path}?{SECRET}"))).await;
        assert!(why.contains(part), "{why}");
        assert_eq!(server.requests().len(), asked);
    }
    let gone = server.url(&format!("/a?{SECRET}"));
    drop(server);
    let why = story.refusal(&gone).await;
    assert!(why.contains("no connection"), "{why}");
    let hub = story.refusal("hf://a/b").await;
    assert!(hub.contains("--allow-lora-hub"), "{hub}");
}
