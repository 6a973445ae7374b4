//! Only the holder of a job may write to it.

use glimpse_shared::{
    event::{Event, FailureCode},
    job::{Release, Status},
    store::{Ending, Finish, Hold, Lease, Released},
};

use super::{Fixture, completed, job, preview, worker};

/// Every write of a worker to a job that it no longer holds.
async fn is_lost(fixture: &Fixture, stale: &Lease) {
    let before = fixture.log(stale.job.id).await;
    let mut stale = stale.clone();
    assert_eq!(fixture.store.renew(&stale, None).await.unwrap(), Hold::Lost);
    let late = preview(&stale, 10);
    assert_eq!(fixture.store.publish(&mut stale, &late).await.unwrap(), Hold::Lost);
    assert_eq!(fixture.store.finish(&mut stale, &completed()).await.unwrap(), Finish::Lost);
    assert_eq!(fixture.store.release(&stale, &Release::Drain).await.unwrap(), Released::Lost);
    assert_eq!(fixture.log(stale.job.id).await, before, "a stale worker wrote something");
}

pub async fn a_stale_worker_is_rejected_before_the_next_claim(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let stale = fixture.claim("w1").await;
    fixture.pass(16);
    fixture.reap().await;
    is_lost(fixture, &stale).await;
}

pub async fn a_stale_worker_is_rejected_after_the_next_claim(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let stale = fixture.claim("w1").await;
    fixture.pass(16);
    fixture.reap().await;
    let mut lease = fixture.claim("w1").await;
    assert_eq!(lease.attempt, 2);
    is_lost(fixture, &stale).await;
    fixture.publish(&mut lease, 0).await;
    is_lost(fixture, &stale).await;
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    is_lost(fixture, &stale).await;
}

pub async fn another_worker_with_the_same_attempt_is_lost(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let lease = fixture.claim("w1").await;
    let mut impostor = lease.clone();
    impostor.worker = worker("w2");
    is_lost(fixture, &impostor).await;
    assert_eq!(fixture.store.renew(&lease, None).await.unwrap(), Hold::Held);
}

pub async fn a_repeated_preview_is_written_once(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    let mut answer_was_lost = lease.clone();
    fixture.publish(&mut lease, 0).await;
    fixture.publish(&mut answer_was_lost, 0).await;
    assert_eq!(fixture.kinds(job.id).await, ["queued", "started", "preview"]);
    fixture.publish(&mut answer_was_lost, 5).await;
    assert_eq!(fixture.log(job.id).await.last().map(|(seq, _)| *seq), Some(4));
}

pub async fn a_preview_with_a_wrong_number_writes_nothing(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    let mut behind = lease.clone();
    fixture.publish(&mut lease, 0).await;
    fixture.publish(&mut lease, 5).await;
    fixture.publish(&mut behind, 10).await;
    assert_eq!(fixture.kinds(job.id).await, ["queued", "started", "preview", "preview"]);
    // It continues with the log's numbers.
    fixture.publish(&mut behind, 10).await;
    assert_eq!(fixture.log(job.id).await.len(), 5);
}

pub async fn the_log_keeps_the_newest_previews(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    for step in 0..40 {
        fixture.publish(&mut lease, step).await;
    }
    let seqs: Vec<u64> = fixture.log(job.id).await.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, [1, 2].into_iter().chain(27..=42).collect::<Vec<_>>());

    // A requeue deletes the attempt's previews, and the next attempt starts new ones.
    fixture.store.release(&lease, &Release::Drain).await.unwrap();
    assert_eq!(fixture.kinds(job.id).await, ["queued", "started", "queued"]);
    let mut lease = fixture.claim("w2").await;
    fixture.publish(&mut lease, 0).await;
    assert_eq!(fixture.kinds(job.id).await, ["queued", "started", "queued", "started", "preview"]);
}

pub async fn a_finish_with_a_wrong_number_finds_the_right_one(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    let mut behind = lease.clone();
    for step in [0, 5, 10] {
        fixture.publish(&mut lease, step).await;
    }
    assert_eq!(fixture.store.finish(&mut behind, &completed()).await.unwrap(), Finish::Finished);
    let log = fixture.log(job.id).await;
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].0, 6);
}

pub async fn a_repeated_finish_is_finished(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    let refused = Ending::failed(FailureCode::BadRequest, "no such \"scheduler\" — naïve".to_owned());
    assert_eq!(fixture.store.finish(&mut lease.clone(), &refused).await.unwrap(), Finish::Finished);
    assert_eq!(fixture.store.finish(&mut lease, &refused).await.unwrap(), Finish::Finished);
    assert_eq!(fixture.store.status(job.id).await.unwrap().unwrap().status, Status::Failed);
    let message = "no such \"scheduler\" — naïve".to_owned();
    assert_eq!(fixture.log(job.id).await, [(3, Event::Failed { code: FailureCode::BadRequest, message })]);
}

pub async fn a_repeated_release_is_lost(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let lease = fixture.claim("w1").await;
    assert_eq!(fixture.store.release(&lease, &Release::Drain).await.unwrap(), Released::Released);
    assert_eq!(fixture.store.release(&lease, &Release::Drain).await.unwrap(), Released::Lost);
}

pub async fn a_publish_renews_the_lease(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let mut lease = fixture.claim("w1").await;
    fixture.pass(10);
    fixture.publish(&mut lease, 0).await;
    fixture.pass(10);
    assert_eq!(fixture.reap().await, (vec![], vec![]));
    assert_eq!(fixture.store.renew(&lease, None).await.unwrap(), Hold::Held);
    fixture.pass(14);
    assert_eq!(fixture.reap().await, (vec![], vec![]));
    fixture.pass(2);
    assert_eq!(fixture.reap().await, (vec![], vec![lease.job.id]));
}
