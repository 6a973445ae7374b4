//! The operator's endpoint that sees finished pictures first.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use glimpse_shared::{
    event::{CancelledBy, Event, FailureCode},
    job::{Release, Status},
    results::{Place, Results},
    store::SharedStore,
    verdict::OnFailure,
};
use glimpse_test_support::{WebhookAnswer, WebhookReceiver};
use glimpse_worker::{engine::Engine, picture_hook::PictureHookFlags, runner::Worker};
use serde_json::json;

use crate::{
    props::{assert_completes, kinds, memory},
    script::{Running, Script, all, flaky::Flaky, plain_worker, run_worker, submit, until},
};

fn flags(receiver: &WebhookReceiver) -> PictureHookFlags {
    // In a program it is installed at the start.
    let _ = rustls::crypto::ring::default_provider().install_default();
    PictureHookFlags {
        picture_hook_url: Some(receiver.url("/check?key=secret").parse().unwrap()),
        picture_hook_timeout: 1,
        picture_hook_failure: OnFailure::Refuse,
        picture_hook_previews: false,
    }
}

/// A worker that asks about its pictures and keeps them in `folder`.
async fn start(store: &SharedStore, script: &Script, flags: &PictureHookFlags, folder: &Path) -> Running {
    let script = script.clone();
    let (engine, _) = Engine::start(move || Ok::<_, std::io::Error>(script)).await.unwrap();
    let results = Results::open(Place::Directory(folder.to_owned()), Duration::from_secs(60)).await.unwrap();
    let worker = Worker { hook: flags.open(), results: Some(results), ..plain_worker(store, engine, "w") };
    let (running, ready) = run_worker(worker);
    ready.await.unwrap();
    running
}

fn open_script() -> Script {
    let script = Script::default();
    script.gate.open();
    script
}

fn allowed(allowed: bool) -> WebhookAnswer {
    WebhookAnswer::Body(json!({ "allowed": allowed, "score": 0.5 }).to_string())
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_picture_fails_its_job_and_is_kept_nowhere() {
    // The second of the job's two pictures is refused.
    let receiver = WebhookReceiver::start(|_, call| match call.json()["index"].as_u64() {
        Some(1) => WebhookAnswer::Body(r#"{"allowed":false,"reason":"Not in this house"}"#.to_owned()),
        _ => allowed(true),
    });
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let _worker = start(&store, &open_script(), &flags(&receiver), folder.path()).await;
    let id = submit(&store, "a heart").await;
    let events = all(&store, id).await;
    let code = FailureCode::ContentPolicyViolation;
    assert_eq!(events.last(), Some(&Event::Failed { code, message: "Not in this house".to_owned() }));
    assert!(!kinds(&events).contains(&"preview"), "{:?}", kinds(&events));
    assert!(is_empty(folder.path()), "nothing is written");
    assert_eq!(store.status(id).await.unwrap().unwrap().attempt, 1, "it is not tried again");
    assert!(store.dead(None).await.unwrap().is_empty());

    let mut calls = receiver.calls();
    assert_eq!(calls.len(), 2);
    calls.sort_by_key(|call| call.json()["index"].as_u64());
    for (index, call) in calls.iter().enumerate() {
        let mut asked = call.json();
        assert_eq!(call.path, "/check?key=secret");
        let data = asked["image"].as_object_mut().unwrap().remove("data").unwrap();
        let picture = STANDARD.decode(data.as_str().unwrap()).unwrap();
        assert_eq!(image::load_from_memory(&picture).unwrap().to_rgb8().dimensions(), (16, 8));
        let image = json!({ "content_type": "image/jpeg", "width": 16, "height": 8 });
        let expected = json!({ "job_id": id, "app": "glimpse/demo", "tenant": "anonymous", "index": index, "image": image });
        assert_eq!(asked, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_without_a_reason_gets_ours() {
    let receiver = WebhookReceiver::start(|_, _| allowed(false));
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let _worker = start(&store, &open_script(), &flags(&receiver), folder.path()).await;
    let id = submit(&store, "a heart").await;
    let end = all(&store, id).await.pop();
    let Some(Event::Failed { message, .. }) = end else { panic!("not failed: {end:?}") };
    assert_eq!(message, "The operator of this server does not allow this picture");
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_are_sent_only_if_the_operator_says_so() {
    for shows in [false, true] {
        let receiver = WebhookReceiver::start(|_, _| allowed(true));
        let (store, folder) = (memory(), tempfile::tempdir().unwrap());
        let flags = PictureHookFlags { picture_hook_previews: shows, ..flags(&receiver) };
        let script = Script::default();
        let _worker = start(&store, &script, &flags, folder.path()).await;
        let id = submit(&store, "a heart").await;
        let events = store.follow(id, None);
        // So that the end does not overtake a preview.
        script.gate.let_through(9);
        until(async || script.steps.load(Ordering::SeqCst) == 9).await;
        if shows {
            until(async || store.status(id).await.unwrap().unwrap().step == Some(8)).await;
        }
        script.gate.open();
        let kinds = kinds(&followed(events).await);
        assert_eq!(kinds.contains(&"preview"), shows, "{kinds:?}");
        assert_eq!(kinds.last(), Some(&"completed"));
        assert!(!is_empty(folder.path()));
    }
}

/// The events of a stream, until the job's end.
async fn followed(
    mut stream: futures::stream::BoxStream<'static, glimpse_shared::event::Followed>,
) -> Vec<Event> {
    let mut events = vec![crate::script::next(&mut stream).await];
    while !events.last().unwrap().kind().is_terminal() {
        events.push(crate::script::next(&mut stream).await);
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_attempt_fails_and_the_next_one_asks_again() {
    // The pictures of the first attempt get no answer.
    let receiver = WebhookReceiver::start(|number, _| match number {
        0 | 1 => WebhookAnswer::Silence,
        _ => allowed(true),
    });
    let flaky = Arc::new(Flaky::new(memory(), true));
    let (store, folder): (SharedStore, _) = (flaky.clone(), tempfile::tempdir().unwrap());
    let _worker = start(&store, &open_script(), &flags(&receiver), folder.path()).await;
    let id = submit(&store, "a heart").await;
    assert_completes(&store, id).await;
    let released = flaky.released.lock().unwrap().clone();
    let [(of, Release::Fault(reason))] = &released[..] else { panic!("not one fault: {released:?}") };
    assert_eq!(*of, id);
    assert!(reason.contains("--picture-hook-url") && !reason.contains("secret"), "{reason}");
    assert_eq!(store.status(id).await.unwrap().unwrap().attempt, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_repeated_until_there_is_an_answer() {
    let receiver = WebhookReceiver::start(|number, _| match number {
        0 => WebhookAnswer::status(500),
        1 => WebhookAnswer::Close,
        2 => WebhookAnswer::Body("{}".to_owned()),
        _ => allowed(true),
    });
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let flags = PictureHookFlags { picture_hook_timeout: 60, ..flags(&receiver) };
    let _worker = start(&store, &open_script(), &flags, folder.path()).await;
    let id = submit(&store, "a heart").await;
    assert_completes(&store, id).await;
    assert_eq!(store.status(id).await.unwrap().unwrap().attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_show_what_was_not_checked() {
    let receiver = WebhookReceiver::start(|_, _| WebhookAnswer::Redirect("http://127.0.0.1:9/".to_owned()));
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let flags = PictureHookFlags { picture_hook_failure: OnFailure::Allow, ..flags(&receiver) };
    let _worker = start(&store, &open_script(), &flags, folder.path()).await;
    let id = submit(&store, "a heart").await;
    assert_completes(&store, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_while_its_picture_is_checked() {
    let receiver = WebhookReceiver::start(|number, _| match number {
        0 | 1 => WebhookAnswer::Silence,
        _ => allowed(true),
    });
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let flags = PictureHookFlags { picture_hook_timeout: 60, ..flags(&receiver) };
    let _worker = start(&store, &open_script(), &flags, folder.path()).await;
    let id = submit(&store, "a heart").await;
    until(async || receiver.calls().len() == 2).await;
    assert_eq!(store.status(id).await.unwrap().unwrap().status, Status::Running);
    store.cancel(id, CancelledBy::Client).await.unwrap();
    assert!(matches!(all(&store, id).await.last(), Some(Event::Cancelled { .. })));
    assert!(is_empty(folder.path()));
    // The worker does not wait for the answer: it has room for two jobs.
    for prompt in ["a house", "a tree", "a hill"] {
        let other = submit(&store, prompt).await;
        assert_completes(&store, other).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_gives_a_job_back_whose_picture_is_checked() {
    let receiver = WebhookReceiver::start(|_, _| WebhookAnswer::Silence);
    let (store, script) = (memory(), open_script());
    let flags = PictureHookFlags { picture_hook_timeout: 60, ..flags(&receiver) };
    let (engine, _) = Engine::start(move || Ok::<_, std::io::Error>(script)).await.unwrap();
    let worker = plain_worker(&store, engine, "w");
    let (mut worker, ready) =
        run_worker(Worker { hook: flags.open(), drain_grace: Duration::ZERO, ..worker });
    ready.await.unwrap();
    let id = submit(&store, "a heart").await;
    until(async || receiver.calls().len() == 2).await;
    worker.drain();
    worker.end().await;
    assert_eq!(store.status(id).await.unwrap().unwrap().status, Status::Queued);
}
