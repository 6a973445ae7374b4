//! Two releases on one Redis: the scripts of the release before, as it sent them, on what today's store writes, and the
//! other way round. `tests/e2e/upgrade.rs` does the same with programs.

use std::{num::NonZeroU32, sync::Arc};

use glimpse_shared::{
    event::{CancelledBy, Event, Frame},
    id::{JobId, Seq},
    job::{Job, Release, Status, WorkerRecord},
    store::{
        Checkpoint, Finish, Hold, Quota, Retry, Store, Submit,
        redis::{Process, RedisStore},
    },
    webhook::{Report, Webhook, WebhookForm},
};
use glimpse_test_support::{
    RedisServer, Reply,
    jobs::{app, completed, image, job, preview},
    recorded::{Recorded, has_all},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    helpers::{checkpoint_key, claim, job_key, key, number, store},
    previous::{Old, PREVIOUS, recorded_id, recorded_job, texts},
};

fn frame(seq: u64, event: &Event) -> String {
    String::from_utf8(Frame::new(Seq(seq), event).bytes().to_vec()).unwrap()
}

fn webhook() -> Webhook {
    let url = "https://example.com".to_owned();
    Webhook { url, form: WebhookForm::Own, origin: "http://127.0.0.1:8080".to_owned() }
}

/// A job with everything that a job may have, of a tenant with places.
async fn submit_rich_job(store: &RedisStore) -> Job {
    let job = Job { webhook: Some(webhook()), tenant: "team".to_owned(), ..job("a heart") };
    let quota = Quota { unfinished: NonZeroU32::new(3) };
    assert!(matches!(store.submit_within(&job, quota).await.unwrap(), Submit::Submitted { .. }));
    job
}

#[tokio::test]
async fn a_worker_of_the_release_before_does_the_jobs_of_todays_api() {
    let server = RedisServer::start_with(&[]);
    let (store, old) = (store(&server.url()), Old::on(&server));
    let job = submit_rich_job(&store).await;
    let id = job.id.to_string();
    let got = old.claim(1);
    let [claimed, json, attempt, seq, ..] = texts(&got)[..] else { panic!("{got:?}") };
    assert_eq!((claimed, attempt, seq), ("claimed", "1", "2"));
    let json: Value = serde_json::from_str(json).unwrap();
    assert!(has_shape(&json, &recorded_job(&old.recorded)), "{json}");

    let held = [(2, &*id), (3, "1"), (4, "old")];
    let with = |more: &[(usize, &'static str)]| [&held[..], more].concat();
    let jpeg = frame(3, &Event::Preview { attempt: 1, step: 0, steps: 4, image: image() });
    let publish = [&held[..], &[(7, "3"), (8, "0"), (9, ""), (10, &*jpeg)]].concat();
    assert_eq!(texts(&old.run("publish", job.id, &publish)), ["held", "3"]);
    assert_eq!(texts(&old.run("checkpoint", job.id, &with(&[(6, "state")]))), ["held", "3"]);
    assert_eq!(texts(&old.run("renew", job.id, &held)), ["held", "3"]);
    assert_eq!(store.status(job.id).await.unwrap().unwrap().step, Some(0));
    let end = r#"4 {"type":"completed","images":[],"seed":7,"timings":{"inference":1.0,"decode":0.1}}"#;
    let finish = [&held[..], &[(5, "completed"), (6, "4"), (7, end)]].concat();
    assert_eq!(texts(&old.run("finish", job.id, &finish)), ["finished"]);

    assert_eq!(store.status(job.id).await.unwrap().unwrap().status, Status::Completed);
    assert_eq!(number(&server, &["EXISTS", &checkpoint_key(job.id)]), 0);
    assert_eq!(number(&server, &["ZCARD", &key("places:team")]), 0, "its place is free");
    let delivery = store.take_deliveries().await.unwrap().remove(0);
    assert_eq!(delivery.job, job.id, "its webhook is due");
    store.settle_delivery(delivery.job, delivery.number, Report::Acknowledged).await.unwrap();
}

#[tokio::test]
async fn todays_worker_does_the_jobs_of_an_api_of_the_release_before() {
    let server = RedisServer::start_with(&[]);
    let (store, old) = (store(&server.url()), Old::on(&server));
    let job = job("a heart");
    let json =
        recorded_job(&old.recorded).to_string().replace(recorded_id(&old.recorded), &job.id.to_string());
    let app = app().to_string();
    let own = [(2, &*job.id.to_string()), (4, &*json), (5, &*app), (11, ""), (14, "")];
    assert_eq!(texts(&old.run("submit", job.id, &own)), ["submitted", "0"]);
    let mut lease = claim(&store, "new", 1).await;
    let step = preview(&lease, 0);
    store.publish(&mut lease, &step).await.unwrap();
    // A process of the release before looks at it meanwhile.
    assert_eq!(texts(&old.run("status", job.id, &[(1, &*job.id.to_string()), (2, "")]))[0], "running");
    assert_eq!(store.finish(&mut lease, &completed()).await.unwrap(), Finish::Finished);
    let state = old.run("status", job.id, &[(1, &*job.id.to_string()), (2, "end")]);
    let state = texts(&state);
    assert_eq!((state[0], state.len()), ("completed", 17));
    assert!(state[15].contains(r#""type":"completed""#), "{state:?}");
}

#[tokio::test]
async fn each_release_takes_back_the_jobs_of_the_others_lost_workers() {
    let server = RedisServer::start_with(&[]);
    let (store, old) = (store(&server.url()), Old::on(&server));
    let job = submit_rich_job(&store).await;
    let id = job.id.to_string();
    let checkpoint = Checkpoint::new("state").unwrap();
    let lease = claim(&store, "new", 1).await;
    store.renew(&lease, Some(&checkpoint)).await.unwrap();
    let later = (store.now().await.unwrap().0 + 20_000_000).to_string();
    let reap = [(1, &*later), (2, &*id), (3, "glimpse/demo"), (4, &*later)];
    assert_eq!(texts(&old.run("reap", job.id, &reap))[0], "given_back");

    let second = old.claim(1);
    assert_eq!(texts(&second)[2..], ["2", "4", "state"], "the old worker gets the checkpoint");
    let drain = [(2, &*id), (3, "2"), (4, "old"), (5, "drain")];
    assert_eq!(texts(&old.run("release", job.id, &drain)), ["released"]);
    let third = claim(&store, "new", 2).await;
    assert_eq!((third.attempt, third.checkpoint.as_ref()), (3, Some(&checkpoint)));
    let cancelled = Event::Cancelled { by: CancelledBy::Client }.to_json();
    let cancel = [(2, &*id), (3, "glimpse/demo"), (4, &*cancelled)];
    assert_eq!(texts(&old.run("cancel", job.id, &cancel)), ["cancelled"]);
    assert_eq!(store.renew(&third, None).await.unwrap(), Hold::Cancelled);
    assert_eq!(number(&server, &["ZCARD", &key("places:team")]), 0);
}

/// Lets a job fail with its last attempt.
async fn kill(store: &RedisStore, job: &Job) {
    for number in 1..=3 {
        let lease = claim(store, "fails", number).await;
        assert_eq!(lease.job.id, job.id);
        store.release(&lease, &Release::Fault("a fault".to_owned())).await.unwrap();
    }
}

#[tokio::test]
async fn what_only_a_newer_release_knows_survives_every_command() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    let mut json = serde_json::to_value(&job).unwrap();
    json["newer"] = json!({ "member": [1, 2.5, "x"] });
    json["spec"]["newer"] = json!(true);
    server.ask(&["HSET", &job_key(job.id), "job", &json.to_string(), "newer", "field"]);
    let kept = |id: JobId, json: &Value| {
        let stored: Value = serde_json::from_str(server.ask(&["HGET", &job_key(id), "job"]).text()).unwrap();
        assert_eq!(&stored, json);
    };

    let drained = claim(&store, "w", 1).await;
    store.release(&drained, &Release::Drain).await.unwrap();
    kill(&store, &job).await;
    assert_eq!(server.ask(&["HGET", &job_key(job.id), "newer"]).text(), "field");
    kept(job.id, &json);

    let Retry::Submitted { id, .. } = store.retry(job.id).await.unwrap() else { panic!("not retried") };
    json["id"] = json!(id);
    json["retry_of"] = json!(job.id);
    kept(id, &json);
    assert_eq!(claim(&store, "w", 2).await.job, job.retried());
}

#[tokio::test]
async fn a_dead_job_of_the_release_before_is_retried_and_its_words_are_read() {
    let server = RedisServer::start_with(&[]);
    let (store, old) = (store(&server.url()), Old::on(&server));
    let job = submit_rich_job(&store).await;
    let id = job.id.to_string();
    let around = r#"{"type":"failed","code":"newer_code","message":"after "#;
    for attempt in 1..=3 {
        old.claim(attempt);
        let (n, fault) = (attempt.to_string(), [(5, "fault"), (6, "3"), (7, around), (8, "\"}")]);
        let own = [&[(2, &*id), (3, &*n), (4, "old")][..], &fault].concat();
        old.run("release", job.id, &own);
    }
    let dead = store.dead(None).await.unwrap();
    assert_eq!((dead.len(), dead[0].id, &*dead[0].message), (1, job.id, "after 3"), "{dead:?}");
    let listed = old.run("dead", job.id, &[(1, "")]);
    assert!(matches!(&listed, Reply::List(jobs) if jobs.len() == 1), "{listed:?}");
    assert!(matches!(store.retry(job.id).await.unwrap(), Retry::Submitted { .. }));
}

#[tokio::test]
async fn a_store_of_a_release_that_is_too_new_is_refused() {
    let server = RedisServer::start_with(&[]);
    let check = |store: Arc<RedisStore>| async move { store.check(Process::Both).await.map(drop) };
    let stored = || server.ask(&["GET", "glimpse:format"]).text().to_owned();
    check(store(&server.url())).await.unwrap();
    let own: u32 = stored().parse().unwrap();
    for (there, then) in [(own - 1, own), (own, own), (own + 1, own + 1)] {
        server.ask(&["SET", "glimpse:format", &there.to_string()]);
        check(store(&server.url())).await.unwrap();
        assert_eq!(stored(), then.to_string());
    }
    server.ask(&["SET", "glimpse:format", &(own + 2).to_string()]);
    let why = check(store(&server.url())).await.unwrap_err().to_string();
    assert!(why.contains("newer release") && why.contains("glimpse:format"), "{why}");
    assert_eq!(stored(), (own + 2).to_string(), "it is not lowered");
}

#[test]
fn everything_recorded_is_read_and_written_again_whole() {
    let recorded = Recorded::of(PREVIOUS);
    let (mut jobs, mut workers, mut events) = (0, 0, 0);
    for (key, entry) in recorded.keys() {
        let value = &entry["value"];
        if key.contains(":job:") {
            whole::<Job>(value["job"].as_str().unwrap());
            jobs += 1;
        } else if key.ends_with(":workers") {
            for record in value.as_object().unwrap().values() {
                whole::<WorkerRecord>(record.as_str().unwrap().split_once(' ').unwrap().1);
                workers += 1;
            }
        } else if key.contains(":log:") {
            for entry in value.as_array().unwrap() {
                let frame = Frame::parse(entry[1]["e"].as_str().unwrap().to_owned().into()).unwrap();
                whole::<Event>(std::str::from_utf8(&frame.json()).unwrap());
                events += 1;
            }
        }
    }
    assert!(jobs > 15 && workers > 1 && events > 20, "{jobs} jobs, {workers} workers, {events} events");
}

/// Reads JSON of the release before as a value of today, and writes it again.
fn whole<T: Serialize + DeserializeOwned>(old: &str) {
    let value: T = serde_json::from_str(old).unwrap();
    let (old, new) = (serde_json::from_str(old).unwrap(), serde_json::to_value(value).unwrap());
    assert!(has_all(&new, &old), "{old} became {new}");
}

/// Whether a value has every member of another one, with values of the same types: what an old parser needs.
fn has_shape(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(name, old)| new.get(name).is_some_and(|new| has_shape(new, old)))
        }
        _ => std::mem::discriminant(new) == std::mem::discriminant(old),
    }
}
