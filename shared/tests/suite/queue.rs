//! Submits, claims and the queue.

use std::time::Duration;

use glimpse_shared::{
    event::{Event, EventKind, FailureCode},
    id::{App, JobId},
    job::{Class, Progress, Status, WorkerRecord, WorkerState},
    needs::{Capabilities, Needs, Word},
    store::{Claim, Ending, Shown, Submit},
};

use super::{Fixture, START, app, completed, job, job_of, plain_claim, worker};

pub async fn a_position_counts_the_jobs_ahead(fixture: &Fixture) {
    let (first, second) = (job("first"), job("second"));
    assert_eq!(fixture.submit(&first).await, 0);
    fixture.pass(1);
    assert_eq!(fixture.submit(&second).await, 1);
    assert_eq!(fixture.log(second.id).await, [(1, Event::Queued { position: 1 })]);

    fixture.claim("w1").await;
    let state = fixture.store.status(second.id).await.unwrap().unwrap();
    assert_eq!((state.status, state.position), (Status::Queued, Some(0)));
}

pub async fn a_repeated_submit_is_a_duplicate(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    assert_eq!(fixture.store.submit(&job).await.unwrap(), Submit::Duplicate);
    let mut lease = fixture.claim("w1").await;
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(fixture.store.submit(&job).await.unwrap(), Submit::Duplicate);
    assert_eq!(fixture.try_claim(&worker("w2"), 1).await, None);
}

pub async fn another_request_under_the_same_id_conflicts(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let other = glimpse_shared::job::Job { digest: "another".to_owned(), ..job };
    assert_eq!(fixture.store.submit(&other).await.unwrap(), Submit::Conflict);
}

pub async fn a_full_queue_still_recognises_its_jobs(fixture: &Fixture) {
    let jobs: Vec<_> = (0..fixture.rules.queue_limit).map(|n| job(&format!("job {n}"))).collect();
    for job in &jobs {
        fixture.submit(job).await;
    }
    assert_eq!(
        fixture.store.submit(&job("one more")).await.unwrap(),
        Submit::Full { waiting: fixture.rules.queue_limit, pace: None }
    );
    assert_eq!(fixture.store.submit(&jobs[3]).await.unwrap(), Submit::Duplicate);
    fixture.claim("w1").await;
    fixture.submit(&job("now there is room")).await;
}

pub async fn a_full_queue_says_how_long_its_jobs_take(fixture: &Fixture) {
    let pace = async || {
        for n in 0.. {
            if let Submit::Full { pace, .. } = fixture.store.submit(&job(&format!("job {n}"))).await.unwrap()
            {
                return pace.map(|pace| pace.as_micros());
            }
        }
        unreachable!()
    };
    let take = async |seconds: u64, ending: &Ending| {
        let mut lease = fixture.claim("w1").await;
        fixture.pass(seconds);
        fixture.store.finish(&mut lease, ending).await.unwrap();
    };
    assert_eq!(pace().await, None);
    take(8, &completed()).await;
    assert_eq!(pace().await, Some(8_000_000));
    // The newest job has the weight 1/8, and only completed jobs count.
    take(13, &completed()).await;
    take(30, &Ending::failed(FailureCode::BadRequest, "too strange".to_owned())).await;
    assert_eq!(pace().await, Some(8_625_000));

    // Each app has its own mean, and an old mean does not count.
    let other: App = "glimpse/other".parse().unwrap();
    fixture.submit(&job_of(&other, "a house")).await;
    let claim = Claim { app: other, ..plain_claim(worker("w2"), 1) };
    let mut lease = fixture.store.try_claim(&claim).await.unwrap().unwrap();
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(pace().await, Some(8_625_000));
    fixture.clock.advance(fixture.rules.pace_ttl);
    assert_eq!(pace().await, None);
}

pub async fn classes_before_arrivals(fixture: &Fixture) {
    let low = glimpse_shared::job::Job { class: Class::Low, ..job("low") };
    fixture.submit(&low).await;
    fixture.pass(1);
    // Two jobs of the same microsecond keep their order too.
    let twins =
        [7, 3].map(|n| glimpse_shared::job::Job { id: JobId::from_parts(&app(), 1, n), ..job("twin") });
    for twin in &twins {
        fixture.submit(twin).await;
    }
    fixture.pass(1);
    let normal = job("normal");
    fixture.submit(&normal).await;
    assert_eq!(fixture.store.status(low.id).await.unwrap().unwrap().position, Some(3));
    for expected in [twins[0].id, twins[1].id, normal.id, low.id] {
        assert_eq!(fixture.claim("w1").await.job.id, expected);
    }
}

pub async fn a_repeated_claim_gets_the_same_lease(fixture: &Fixture) {
    let (first, second) = (job("first"), job("second"));
    fixture.submit(&first).await;
    fixture.pass(1);
    fixture.submit(&second).await;
    let lease = fixture.try_claim(&worker("w1"), 5).await.unwrap();
    assert_eq!(fixture.try_claim(&worker("w1"), 5).await.as_ref(), Some(&lease));
    assert_eq!(fixture.kinds(first.id).await, ["queued", "started"]);
    assert_eq!(fixture.try_claim(&worker("w1"), 6).await.unwrap().job.id, second.id);
    // Each worker has its own numbers.
    assert_eq!(fixture.try_claim(&worker("w2"), 5).await, None);
}

pub async fn an_old_claim_number_gets_nothing(fixture: &Fixture) {
    for n in 0..3 {
        fixture.submit(&job(&format!("job {n}"))).await;
    }
    fixture.try_claim(&worker("w1"), 5).await.unwrap();
    assert_eq!(fixture.try_claim(&worker("w1"), 4).await, None);
}

pub async fn a_claim_number_is_forgotten_with_the_lease(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    fixture.try_claim(&worker("w1"), 5).await.unwrap();
    fixture.pass(16);
    fixture.reap().await;
    let lease = fixture.try_claim(&worker("w1"), 5).await.unwrap();
    assert_eq!(lease.attempt, 2);
    // After a release within the lease's time the number gets nothing; the worker's next claim has a new number.
    fixture.store.release(&lease, &glimpse_shared::job::Release::Drain).await.unwrap();
    assert_eq!(fixture.try_claim(&worker("w1"), 5).await, None);
    assert_eq!(fixture.try_claim(&worker("w1"), 6).await.unwrap().attempt, 3);
}

pub async fn apps_do_not_share_jobs(fixture: &Fixture) {
    let other: App = "glimpse/other".parse().unwrap();
    fixture.submit(&job("a heart")).await;
    let claim = Claim { app: other.clone(), ..plain_claim(worker("w1"), 1) };
    assert_eq!(fixture.store.try_claim(&claim).await.unwrap(), None);
    let theirs = job_of(&other, "a house");
    assert_eq!(fixture.submit(&theirs).await, 0);
    assert_eq!(fixture.store.try_claim(&claim).await.unwrap().unwrap().job, theirs);
}

pub async fn a_long_queue_of_one_app_delays_no_other(fixture: &Fixture) {
    let other: App = "glimpse/other".parse().unwrap();
    // The other app's jobs have the lowest class, and come last.
    for n in 0..fixture.rules.queue_limit {
        fixture.submit(&job(&format!("job {n}"))).await;
    }
    fixture.pass(1);
    let theirs: Vec<_> = (0..2)
        .map(|n| glimpse_shared::job::Job { class: Class::Low, ..job_of(&other, &format!("house {n}")) })
        .collect();
    for (ahead, job) in theirs.iter().enumerate() {
        assert_eq!(fixture.submit(job).await, ahead as u64);
        fixture.pass(1);
    }
    // Its worker is served at once, and again, while the long queue's workers work.
    for (number, job) in theirs.iter().enumerate() {
        fixture.claim(&format!("busy-{number}")).await;
        let claim = Claim { app: other.clone(), ..plain_claim(worker("w2"), number as u64 + 1) };
        let mut lease = fixture.store.try_claim(&claim).await.unwrap().unwrap();
        assert_eq!(lease.job.id, job.id);
        fixture.store.finish(&mut lease, &completed()).await.unwrap();
    }
    let waiting = fixture.store.waiting(&app()).await.unwrap();
    assert_eq!(waiting.jobs, fixture.rules.queue_limit - 2);
}

pub async fn workers_are_known_for_a_minute(fixture: &Fixture) {
    let record = WorkerRecord {
        id: worker("w1"),
        app: app(),
        native_width: 128,
        native_height: 128,
        max_pixels: 1 << 20,
        schedulers: vec!["EulerDiscreteScheduler".to_owned()],
        features: vec!["loras".to_owned()],
        loras: vec!["ink".to_owned()],
        device: "cpu".to_owned(),
        version: "0.1.0".to_owned(),
        state: WorkerState::Idle,
        progress: None,
        results: None,
        model: None,
    };
    fixture.store.heartbeat(&record).await.unwrap();
    fixture.pass(40);
    let progress = Some(Progress { step: 3, steps: 20 });
    let second = WorkerRecord { id: worker("w2"), state: WorkerState::Busy, progress, ..record.clone() };
    fixture.store.heartbeat(&second).await.unwrap();
    let seen = fixture.store.workers().await.unwrap();
    assert_eq!(seen.iter().map(|seen| &seen.record).collect::<Vec<_>>(), [&record, &second]);
    assert_eq!(seen[0].last_seen, START);
    fixture.pass(21);
    let seen = fixture.store.workers().await.unwrap();
    assert_eq!(seen.iter().map(|seen| &seen.record).collect::<Vec<_>>(), [&second]);
    fixture.store.heartbeat(&record).await.unwrap();
    assert_eq!(fixture.store.workers().await.unwrap().len(), 2);
}

pub async fn a_forgotten_id_can_be_used_again(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    fixture.store.forget(job.id).await.unwrap();
    assert!(fixture.store.status(job.id).await.unwrap().is_some(), "only ended jobs are forgotten");
    let mut lease = fixture.claim("w1").await;
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    fixture.store.forget(job.id).await.unwrap();
    assert_eq!(fixture.store.status(job.id).await.unwrap(), None);
    assert_eq!(fixture.submit(&job).await, 0);
    assert_eq!(fixture.claim("w2").await.attempt, 1);
}

pub async fn state_tells_the_whole_story(fixture: &Fixture) {
    let retried = job("the dead one");
    let job = glimpse_shared::job::Job {
        retry_of: Some(retried.id),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        start_timeout: Duration::from_millis(1_234_567),
        needs: Needs::new(64, [Word::scheduler("DDIMScheduler")]),
        ..job("Москва \"quoted\" \\ 🪁\n")
    };
    fixture.submit(&job).await;
    fixture.pass(2);
    let capabilities = Capabilities::new(64, [Word::scheduler("DDIMScheduler")]);
    let claim = Claim { capabilities, ..plain_claim(worker("w1"), 1) };
    let mut lease = fixture.store.try_claim(&claim).await.unwrap().expect("the job");
    assert_eq!(lease.job, job);
    fixture.publish(&mut lease, 0).await;
    fixture.publish(&mut lease, 5).await;
    let state = fixture.store.status(job.id).await.unwrap().unwrap();
    assert_eq!((state.id, &state.app, &state.digest), (job.id, &job.app, &job.digest));
    assert_eq!((state.steps, state.retry_of), (job.spec.num_inference_steps(), Some(retried.id)));
    assert_eq!((state.status, state.attempt, state.worker), (Status::Running, 1, Some(worker("w1"))));
    assert_eq!((state.position, state.step, state.seq.0), (None, Some(5), 4));
    assert_eq!(state.created_at, START);
    assert_eq!(state.started_at, Some(START.after(Duration::from_secs(2))));
    assert_eq!((state.finished_at, &state.needs), (None, &job.needs));

    fixture.pass(3);
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    let state = fixture.store.status(job.id).await.unwrap().unwrap();
    assert_eq!((state.status, state.worker), (Status::Completed, Some(worker("w1"))));
    assert_eq!(state.finished_at, Some(START.after(Duration::from_secs(5))));
}

pub async fn an_event_is_read_only_for_those_who_show_it(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    fixture.publish(&mut lease, 0).await;
    let look = async |shown| {
        let (mut state, event) = fixture.store.status_with(job.id, shown).await.unwrap().unwrap();
        let prompt = state.prompt.take();
        assert_eq!(Some(&state), fixture.store.status(job.id).await.unwrap().as_ref());
        (event.map(|event| (event.seq.0, event.kind)), prompt)
    };
    assert_eq!(look(Shown::Newest).await, (Some((3, EventKind::Preview)), None));
    assert_eq!(look(Shown::End).await, (None, None));
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    let end = Some((4, EventKind::Completed));
    assert_eq!(look(Shown::Newest).await, (end, None));
    assert_eq!(look(Shown::End).await, (end, Some("a heart".to_owned())));
    fixture.store.forget(job.id).await.unwrap();
    assert_eq!(fixture.store.status_with(job.id, Shown::Newest).await.unwrap(), None);
}

pub async fn all_callers_get_the_same_secret(fixture: &Fixture) {
    let secret = fixture.store.key_secret().await.unwrap();
    let (one, other) = tokio::join!(fixture.store.key_secret(), fixture.store.key_secret());
    assert_eq!((one.unwrap(), other.unwrap()), (secret.clone(), secret));
}
