//! Into the queue and out of it.

use std::time::Duration;

use glimpse_shared::{
    event::{Event, EventKind, FailureCode},
    id::{App, JobId},
    job::{Class, Progress, Status, WorkerRecord, WorkerState},
    needs::{Capabilities, Needs, Word},
    store::{Claim, Ending, Shown, Submit},
};

use super::{Home, START, app, completed, job, job_of, plain_claim, worker};

pub async fn a_position_counts_the_jobs_ahead(home: &Home) {
    let (first, second) = (job("first"), job("second"));
    assert_eq!(home.submit(&first).await, 0);
    home.pass(1);
    assert_eq!(home.submit(&second).await, 1);
    assert_eq!(home.log(second.id).await, [(1, Event::Queued { position: 1 })]);

    home.claim("w1").await;
    let state = home.store.status(second.id).await.unwrap().unwrap();
    assert_eq!((state.status, state.position), (Status::Queued, Some(0)));
}

pub async fn a_repeated_submit_is_a_duplicate(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    assert_eq!(home.store.submit(&job).await.unwrap(), Submit::Duplicate);
    let mut lease = home.claim("w1").await;
    home.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(home.store.submit(&job).await.unwrap(), Submit::Duplicate);
    assert_eq!(home.try_claim(&worker("w2"), 1).await, None);
}

pub async fn another_request_under_the_same_id_conflicts(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let other = glimpse_shared::job::Job { digest: "another".to_owned(), ..job };
    assert_eq!(home.store.submit(&other).await.unwrap(), Submit::Conflict);
}

pub async fn a_full_queue_still_recognises_its_jobs(home: &Home) {
    let jobs: Vec<_> = (0..home.rules.queue_limit).map(|n| job(&format!("job {n}"))).collect();
    for job in &jobs {
        home.submit(job).await;
    }
    assert_eq!(
        home.store.submit(&job("one more")).await.unwrap(),
        Submit::Full { waiting: home.rules.queue_limit, pace: None }
    );
    assert_eq!(home.store.submit(&jobs[3]).await.unwrap(), Submit::Duplicate);
    home.claim("w1").await;
    home.submit(&job("now there is room")).await;
}

pub async fn a_full_queue_says_how_long_its_jobs_take(home: &Home) {
    let pace = async || {
        for n in 0.. {
            if let Submit::Full { pace, .. } = home.store.submit(&job(&format!("job {n}"))).await.unwrap() {
                return pace.map(|pace| pace.as_micros());
            }
        }
        unreachable!()
    };
    let take = async |seconds: u64, ending: &Ending| {
        let mut lease = home.claim("w1").await;
        home.pass(seconds);
        home.store.finish(&mut lease, ending).await.unwrap();
    };
    assert_eq!(pace().await, None);
    take(8, &completed()).await;
    assert_eq!(pace().await, Some(8_000_000));
    // The newest weighs an eighth, and only what was completed counts.
    take(13, &completed()).await;
    take(30, &Ending::failed(FailureCode::BadRequest, "too strange".to_owned())).await;
    assert_eq!(pace().await, Some(8_625_000));

    // Another app has its own, and what is old no longer counts.
    let other: App = "glimpse/other".parse().unwrap();
    home.submit(&job_of(&other, "a house")).await;
    let claim = Claim { app: other, ..plain_claim(worker("w2"), 1) };
    let mut lease = home.store.try_claim(&claim).await.unwrap().unwrap();
    home.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(pace().await, Some(8_625_000));
    home.clock.advance(home.rules.pace_ttl);
    assert_eq!(pace().await, None);
}

pub async fn classes_before_arrivals(home: &Home) {
    let low = glimpse_shared::job::Job { class: Class::Low, ..job("low") };
    home.submit(&low).await;
    home.pass(1);
    // Two of the same microsecond: their ids decide.
    let twins =
        [7, 3].map(|n| glimpse_shared::job::Job { id: JobId::from_parts(&app(), 1, n), ..job("twin") });
    for twin in &twins {
        home.submit(twin).await;
    }
    home.pass(1);
    let normal = job("normal");
    home.submit(&normal).await;
    assert_eq!(home.store.status(low.id).await.unwrap().unwrap().position, Some(3));
    for expected in [twins[1].id, twins[0].id, normal.id, low.id] {
        assert_eq!(home.claim("w1").await.job.id, expected);
    }
}

pub async fn a_repeated_claim_gets_the_same_lease(home: &Home) {
    let (first, second) = (job("first"), job("second"));
    home.submit(&first).await;
    home.pass(1);
    home.submit(&second).await;
    let lease = home.try_claim(&worker("w1"), 5).await.unwrap();
    assert_eq!(home.try_claim(&worker("w1"), 5).await.as_ref(), Some(&lease));
    assert_eq!(home.kinds(first.id).await, ["queued", "started"]);
    assert_eq!(home.try_claim(&worker("w1"), 6).await.unwrap().job.id, second.id);
    // Another worker's number is its own.
    assert_eq!(home.try_claim(&worker("w2"), 5).await, None);
}

pub async fn an_old_claim_number_gets_nothing(home: &Home) {
    for n in 0..3 {
        home.submit(&job(&format!("job {n}"))).await;
    }
    home.try_claim(&worker("w1"), 5).await.unwrap();
    assert_eq!(home.try_claim(&worker("w1"), 4).await, None);
}

pub async fn a_claim_number_is_forgotten_with_the_lease(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    home.try_claim(&worker("w1"), 5).await.unwrap();
    home.pass(16);
    home.reap().await;
    let lease = home.try_claim(&worker("w1"), 5).await.unwrap();
    assert_eq!(lease.attempt, 2);
    // Given back within the lease's time, the number gets nothing: the worker counts on.
    home.store.release(&lease, &glimpse_shared::job::Release::Drain).await.unwrap();
    assert_eq!(home.try_claim(&worker("w1"), 5).await, None);
    assert_eq!(home.try_claim(&worker("w1"), 6).await.unwrap().attempt, 3);
}

pub async fn apps_do_not_share_jobs(home: &Home) {
    let other: App = "glimpse/other".parse().unwrap();
    home.submit(&job("a heart")).await;
    let claim = Claim { app: other.clone(), ..plain_claim(worker("w1"), 1) };
    assert_eq!(home.store.try_claim(&claim).await.unwrap(), None);
    let theirs = job_of(&other, "a house");
    assert_eq!(home.submit(&theirs).await, 0);
    assert_eq!(home.store.try_claim(&claim).await.unwrap().unwrap().job, theirs);
}

pub async fn workers_are_known_for_a_minute(home: &Home) {
    let record = WorkerRecord {
        id: worker("w1"),
        app: app(),
        native_width: 128,
        native_height: 128,
        max_pixels: 1 << 20,
        schedulers: vec!["EulerDiscreteScheduler".to_owned()],
        device: "cpu".to_owned(),
        version: "0.1.0".to_owned(),
        state: WorkerState::Idle,
        progress: None,
    };
    home.store.heartbeat(&record).await.unwrap();
    home.pass(40);
    let progress = Some(Progress { step: 3, steps: 20 });
    let second = WorkerRecord { id: worker("w2"), state: WorkerState::Busy, progress, ..record.clone() };
    home.store.heartbeat(&second).await.unwrap();
    let seen = home.store.workers().await.unwrap();
    assert_eq!(seen.iter().map(|seen| &seen.record).collect::<Vec<_>>(), [&record, &second]);
    assert_eq!(seen[0].last_seen, START);
    home.pass(21);
    let seen = home.store.workers().await.unwrap();
    assert_eq!(seen.iter().map(|seen| &seen.record).collect::<Vec<_>>(), [&second]);
    home.store.heartbeat(&record).await.unwrap();
    assert_eq!(home.store.workers().await.unwrap().len(), 2);
}

pub async fn a_forgotten_id_can_be_used_again(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    home.store.forget(job.id).await.unwrap();
    assert!(home.store.status(job.id).await.unwrap().is_some(), "only ended jobs are forgotten");
    let mut lease = home.claim("w1").await;
    home.store.finish(&mut lease, &completed()).await.unwrap();
    home.store.forget(job.id).await.unwrap();
    assert_eq!(home.store.status(job.id).await.unwrap(), None);
    assert_eq!(home.submit(&job).await, 0);
    assert_eq!(home.claim("w2").await.attempt, 1);
}

pub async fn state_tells_the_whole_story(home: &Home) {
    let retried = job("the dead one");
    let job = glimpse_shared::job::Job {
        retry_of: Some(retried.id),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        start_timeout: Duration::from_millis(1_234_567),
        needs: Needs::new(64, [Word::scheduler("DDIMScheduler")]),
        ..job("Москва \"quoted\" \\ 🪁\n")
    };
    home.submit(&job).await;
    home.pass(2);
    let capabilities = Capabilities::new(64, [Word::scheduler("DDIMScheduler")]);
    let claim = Claim { capabilities, ..plain_claim(worker("w1"), 1) };
    let mut lease = home.store.try_claim(&claim).await.unwrap().expect("the job");
    assert_eq!(lease.job, job);
    home.publish(&mut lease, 0).await;
    home.publish(&mut lease, 5).await;
    let state = home.store.status(job.id).await.unwrap().unwrap();
    assert_eq!((state.id, &state.app, &state.digest), (job.id, &job.app, &job.digest));
    assert_eq!((state.steps, state.retry_of), (job.spec.num_inference_steps(), Some(retried.id)));
    assert_eq!((state.status, state.attempt, state.worker), (Status::Running, 1, Some(worker("w1"))));
    assert_eq!((state.position, state.step, state.seq.0), (None, Some(5), 4));
    assert_eq!(state.created_at, START);
    assert_eq!(state.started_at, Some(START.after(Duration::from_secs(2))));
    assert_eq!((state.finished_at, &state.needs), (None, &job.needs));

    home.pass(3);
    home.store.finish(&mut lease, &completed()).await.unwrap();
    let state = home.store.status(job.id).await.unwrap().unwrap();
    assert_eq!((state.status, state.worker), (Status::Completed, Some(worker("w1"))));
    assert_eq!(state.finished_at, Some(START.after(Duration::from_secs(5))));
}

pub async fn an_event_is_read_only_for_those_who_show_it(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    home.publish(&mut lease, 0).await;
    let look = async |shown| {
        let (state, event) = home.store.status_with(job.id, shown).await.unwrap().unwrap();
        assert_eq!(Some(&state), home.store.status(job.id).await.unwrap().as_ref());
        event.map(|event| (event.seq.0, event.kind))
    };
    assert_eq!(look(Shown::Newest).await, Some((3, EventKind::Preview)));
    assert_eq!(look(Shown::End).await, None);
    home.store.finish(&mut lease, &completed()).await.unwrap();
    for shown in [Shown::End, Shown::Newest] {
        assert_eq!(look(shown).await, Some((4, EventKind::Completed)));
    }
    home.store.forget(job.id).await.unwrap();
    assert_eq!(home.store.status_with(job.id, Shown::Newest).await.unwrap(), None);
}

pub async fn all_callers_get_the_same_secret(home: &Home) {
    let secret = home.store.key_secret().await.unwrap();
    let (one, other) = tokio::join!(home.store.key_secret(), home.store.key_secret());
    assert_eq!((one.unwrap(), other.unwrap()), (secret.clone(), secret));
}
