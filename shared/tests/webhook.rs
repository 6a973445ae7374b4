//! Webhooks in stored jobs, and the life of a job whose webhook was not called yet.

use std::time::Duration;

use glimpse_shared::{
    job::Job,
    store::{Clock, Rules, Store, memory::MemoryStore},
    webhook::{Report, Settled, Webhook, WebhookForm},
};
use glimpse_test_support::jobs::{START, completed, job, plain_claim, worker};
use serde_json::{Value, json};

fn webhook() -> Webhook {
    Webhook {
        url: "https://example.com/hook?token=secret".to_owned(),
        form: WebhookForm::Own,
        origin: "http://127.0.0.1:8080".to_owned(),
    }
}

#[test]
fn the_releases_before_and_after_read_a_job() {
    let plain = job("a heart");
    let stored = serde_json::to_value(&plain).unwrap();
    // The previous release knows no webhooks: without one nothing has changed.
    assert_eq!(stored.get("webhook"), None);
    assert_eq!(serde_json::from_value::<Job>(stored).unwrap(), plain);
    let hooked = Job { webhook: Some(webhook()), ..plain };
    let mut stored = serde_json::to_value(&hooked).unwrap();
    let members = json!({ "url": webhook().url, "form": "own", "origin": "http://127.0.0.1:8080" });
    assert_eq!(stored["webhook"], members);
    // A newer release may add members.
    stored["webhook"]["more"] = Value::from(1);
    assert_eq!(serde_json::from_value::<Job>(stored).unwrap(), hooked);
}

#[test]
fn an_address_is_not_shown() {
    assert!(!format!("{:?}", Job { webhook: Some(webhook()), ..job("a heart") }).contains("secret"));
}

#[tokio::test]
async fn a_job_lives_until_its_webhook_is_called_or_given_up() {
    let rules = Rules { webhook_tries: 2, ..Rules::default() };
    let clock = Clock::manual(START);
    let store = MemoryStore::new(rules.clone(), clock.clone());
    let pass = async |seconds: u64| {
        clock.advance(Duration::from_secs(seconds));
        store.reap(store.now().await.unwrap()).await.unwrap();
    };
    let done = async |prompt: &str, number: u64| {
        let job = Job { webhook: Some(webhook()), ..job(prompt) };
        store.submit(&job).await.unwrap();
        let mut lease = store.try_claim(&plain_claim(worker("w1"), number)).await.unwrap().unwrap();
        store.finish(&mut lease, &completed()).await.unwrap();
        job.id
    };
    let kept = rules.ended_ttl.as_secs();

    let called = done("called", 1).await;
    let delivery = store.take_deliveries().await.unwrap().remove(0);
    pass(kept + 1).await;
    assert!(store.status(called).await.unwrap().is_some());
    store.settle_delivery(called, delivery.number, Report::Acknowledged).await.unwrap();
    pass(kept - 1).await;
    assert!(store.status(called).await.unwrap().is_some());
    pass(1).await;
    assert_eq!(store.status(called).await.unwrap(), None);

    let given_up = done("given up", 2).await;
    for _ in 0..2 {
        let delivery = store.take_deliveries().await.unwrap().remove(0);
        let settled = store.settle_delivery(given_up, delivery.number, Report::Failed).await.unwrap();
        assert_eq!(settled == Settled::GivenUp, delivery.number == 2);
        pass(kept + 1).await;
        assert_eq!(store.status(given_up).await.unwrap().is_some(), delivery.number < 2);
    }

    // No process calls it at all.
    let uncalled = done("uncalled", 3).await;
    pass(rules.webhook_ttl.as_secs() - 1).await;
    assert!(store.status(uncalled).await.unwrap().is_some());
    pass(1).await;
    assert_eq!(store.status(uncalled).await.unwrap(), None);
    assert_eq!(store.take_deliveries().await.unwrap(), []);
}
