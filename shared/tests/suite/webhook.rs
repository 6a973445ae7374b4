//! Webhooks: the delivery that a job's end makes due, its leases and its reports.

use std::time::Duration;

use glimpse_shared::{
    event::{CancelledBy, FailureCode},
    id::App,
    job::{Job, Release, Status},
    store::{Claim, Ending},
    webhook::{Delivery, Report, Settled, Webhook, WebhookForm},
};

use super::{Fixture, START, completed, job, job_of, plain_claim, worker};

fn hook() -> Webhook {
    Webhook {
        url: "https://example.com/hook?token=é".to_owned(),
        form: WebhookForm::Fal,
        origin: "http://127.0.0.1:8080".to_owned(),
    }
}

fn hooked(prompt: &str) -> Job {
    Job {
        webhook: Some(hook()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        start_timeout: Duration::from_secs(100),
        run_timeout: Duration::from_secs(200),
        ..job(prompt)
    }
}

async fn take(fixture: &Fixture) -> Vec<Delivery> {
    fixture.store.take_deliveries().await.unwrap()
}

async fn settle(fixture: &Fixture, delivery: &Delivery, report: Report) -> Settled {
    fixture.store.settle_delivery(delivery.job, delivery.number, report).await.unwrap()
}

/// Submits a job with a webhook and completes it.
async fn done(fixture: &Fixture, prompt: &str) -> Job {
    let job = hooked(prompt);
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    job
}

/// The only delivery that is due.
async fn one(fixture: &Fixture, job: &Job, number: u32) -> Delivery {
    let taken = take(fixture).await;
    let tenant = "anonymous".to_owned();
    assert_eq!(
        taken,
        [Delivery { job: job.id, number, webhook: hook(), tenant, traceparent: job.traceparent.clone() }]
    );
    taken.into_iter().next().unwrap()
}

pub async fn a_webhook_is_called_only_after_the_end(fixture: &Fixture) {
    let (plain, hooked) = (job("no webhook"), hooked("a webhook"));
    fixture.submit(&plain).await;
    fixture.submit(&hooked).await;
    let mut leases = [fixture.claim("w1").await, fixture.claim("w2").await];
    fixture.publish(&mut leases[1], 5).await;
    fixture.store.release(&leases[1], &Release::Drain).await.unwrap();
    assert_eq!(take(fixture).await, []);
    fixture.store.finish(&mut leases[0], &completed()).await.unwrap();
    assert_eq!(take(fixture).await, []);
    leases[1] = fixture.claim("w2").await;
    // The webhook goes with the job, to its worker too.
    assert_eq!(leases[1].job.webhook, Some(hook()));
    fixture.store.finish(&mut leases[1], &completed()).await.unwrap();
    one(fixture, &hooked, 1).await;
}

pub async fn every_way_to_end_makes_the_delivery_due(fixture: &Fixture) {
    let ended = async |job: &Job, status: Status| {
        assert_eq!(fixture.store.status(job.id).await.unwrap().unwrap().status, status);
        let delivery = one(fixture, job, 1).await;
        assert_eq!(settle(fixture, &delivery, Report::Acknowledged).await, Settled::Over);
    };
    let submitted = async |prompt: &str| {
        let job = hooked(prompt);
        fixture.submit(&job).await;
        job
    };
    ended(&done(fixture, "completed").await, Status::Completed).await;

    let job = submitted("failed").await;
    let mut lease = fixture.claim("w1").await;
    let ending = Ending::failed(FailureCode::BadRequest, "too large".to_owned());
    fixture.store.finish(&mut lease, &ending).await.unwrap();
    ended(&job, Status::Failed).await;

    let job = submitted("cancelled while it waits").await;
    fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap();
    ended(&job, Status::Cancelled).await;

    let job = submitted("cancelled while it runs").await;
    fixture.claim("w1").await;
    fixture.store.cancel(job.id, CancelledBy::Disconnect).await.unwrap();
    ended(&job, Status::Cancelled).await;

    let job = submitted("not started in time").await;
    fixture.pass(100);
    assert_eq!(fixture.reap().await.0, [job.id]);
    ended(&job, Status::Failed).await;

    let job = submitted("not done in time").await;
    fixture.claim("w1").await;
    fixture.pass(200);
    assert_eq!(fixture.reap().await.0, [job.id]);
    ended(&job, Status::Failed).await;

    let job = submitted("faulty").await;
    for _ in 0..fixture.rules.attempts {
        let lease = fixture.claim("w1").await;
        fixture.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    }
    ended(&job, Status::Failed).await;

    let job = submitted("lost").await;
    for _ in 0..fixture.rules.attempts {
        fixture.claim("w1").await;
        fixture.pass(15);
        fixture.reap().await;
    }
    ended(&job, Status::Failed).await;
}

pub async fn one_process_calls_a_webhook_and_another_takes_over(fixture: &Fixture) {
    let job = done(fixture, "a heart").await;
    let first = one(fixture, &job, 1).await;
    assert_eq!(take(fixture).await, []);
    fixture.pass(29);
    assert_eq!(take(fixture).await, []);
    // The process of the first try has died, or it is frozen.
    fixture.pass(1);
    let second = one(fixture, &job, 2).await;
    assert_eq!(settle(fixture, &first, Report::Failed).await, Settled::Superseded);
    assert_eq!(take(fixture).await, []);
    // The receiver has the message: its second acknowledgement says the same.
    assert_eq!(settle(fixture, &first, Report::Acknowledged).await, Settled::Over);
    for report in [Report::Failed, Report::Acknowledged] {
        assert_eq!(settle(fixture, &second, report).await, Settled::Over);
    }
    fixture.pass(100_000);
    assert_eq!(take(fixture).await, []);
}

pub async fn an_acknowledged_webhook_is_not_called_again(fixture: &Fixture) {
    let job = done(fixture, "a heart").await;
    let delivery = one(fixture, &job, 1).await;
    // The first answer may have been lost.
    for _ in 0..2 {
        assert_eq!(settle(fixture, &delivery, Report::Acknowledged).await, Settled::Over);
    }
    fixture.pass(60);
    assert_eq!(take(fixture).await, []);
    assert_eq!(fixture.store.status(job.id).await.unwrap().unwrap().status, Status::Completed);
}

pub async fn a_failed_try_is_repeated_with_longer_waits_and_then_given_up(fixture: &Fixture) {
    let job = done(fixture, "a heart").await;
    let mut now = START;
    let mut waited = 0;
    for number in 1..fixture.rules.webhook_tries {
        let delivery = one(fixture, &job, number).await;
        let wait = (2 << (number - 1)).min(3600);
        let at = now.after(Duration::from_secs(wait));
        // The report may be repeated, also later: its answer was lost.
        for _ in 0..2 {
            assert_eq!(settle(fixture, &delivery, Report::Failed).await, Settled::Again { at });
        }
        fixture.pass(1);
        assert_eq!(settle(fixture, &delivery, Report::Failed).await, Settled::Again { at });
        fixture.pass(wait - 2);
        assert_eq!(take(fixture).await, [], "after {wait} s");
        fixture.pass(1);
        now = at;
        waited += wait;
    }
    assert!((4 * 3600..5 * 3600).contains(&waited), "{waited} s");
    let last = one(fixture, &job, fixture.rules.webhook_tries).await;
    assert_eq!(settle(fixture, &last, Report::Failed).await, Settled::GivenUp);
    assert_eq!(settle(fixture, &last, Report::Failed).await, Settled::Over);
    fixture.pass(100_000);
    assert_eq!(take(fixture).await, []);
}

pub async fn tries_without_a_report_are_bounded_too(fixture: &Fixture) {
    let (job, other) = (done(fixture, "it breaks its callers").await, job("no webhook"));
    for number in 1..=fixture.rules.webhook_tries {
        one(fixture, &job, number).await;
        fixture.pass(30);
    }
    fixture.submit(&other).await;
    assert_eq!(take(fixture).await, []);
    assert_eq!(
        settle(
            fixture,
            &Delivery { job: job.id, number: 15, webhook: hook(), tenant: String::new(), traceparent: None },
            Report::Failed
        )
        .await,
        Settled::Over
    );
}

pub async fn a_retried_job_has_a_delivery_of_its_own(fixture: &Fixture) {
    let old = hooked("poison");
    fixture.submit(&old).await;
    for _ in 0..fixture.rules.attempts {
        let lease = fixture.claim("w1").await;
        fixture.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    }
    let first = one(fixture, &old, 1).await;
    fixture.store.retry(old.id).await.unwrap();
    let mut lease = fixture.claim("w1").await;
    assert_eq!(lease.job.webhook, Some(hook()));
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    let second = one(fixture, &old.retried(), 1).await;
    for delivery in [first, second] {
        assert_eq!(settle(fixture, &delivery, Report::Acknowledged).await, Settled::Over);
    }
}

pub async fn a_deleted_job_is_not_called(fixture: &Fixture) {
    let job = done(fixture, "a heart").await;
    let delivery = one(fixture, &job, 1).await;
    fixture.store.forget(job.id).await.unwrap();
    for report in [Report::Failed, Report::Acknowledged] {
        assert_eq!(settle(fixture, &delivery, report).await, Settled::Over);
    }
    fixture.pass(60);
    assert_eq!(take(fixture).await, []);
    // Its id is used again: a report about the old job does not count.
    fixture.submit(&job).await;
    assert_eq!(settle(fixture, &delivery, Report::Acknowledged).await, Settled::Over);
    let mut lease = fixture.claim("w1").await;
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(settle(fixture, &delivery, Report::Acknowledged).await, Settled::Superseded);
    one(fixture, &job, 1).await;
}

pub async fn the_webhooks_that_wait_longest_come_first(fixture: &Fixture) {
    let other: App = "glimpse/other".parse().unwrap();
    let of_other = Job { webhook: Some(hook()), ..job_of(&other, "other") };
    fixture.submit(&of_other).await;
    let claim = Claim { app: other, ..plain_claim(worker("w2"), 1) };
    let mut lease = fixture.store.try_claim(&claim).await.unwrap().unwrap();
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    let first = done(fixture, "first").await;
    fixture.pass(1);
    let second = done(fixture, "second").await;
    // One of each partition at a time.
    let ids = async || {
        let mut ids: Vec<_> = take(fixture).await.iter().map(|delivery| delivery.job).collect();
        ids.sort();
        ids
    };
    let mut both = vec![first.id, of_other.id];
    both.sort();
    assert_eq!(ids().await, both);
    assert_eq!(ids().await, [second.id]);
    assert!(ids().await.is_empty());
}

pub async fn all_processes_sign_with_the_same_seed(fixture: &Fixture) {
    let (one, other) = tokio::join!(fixture.store.webhook_seed(), fixture.store.webhook_seed());
    let one = one.unwrap();
    assert_eq!(other.unwrap(), one);
    assert_eq!(fixture.store.webhook_seed().await.unwrap(), one);
    assert_ne!(fixture.store.key_secret().await.unwrap(), one);
}
