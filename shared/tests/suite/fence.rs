//! Only the holder of a job may write to it.

use glimpse_shared::{
    event::{Event, FailureCode},
    job::{Release, Status},
    store::{Ending, Finish, Hold, Lease, Released},
};

use super::{Home, completed, job, preview, worker};

/// Every write of a worker to a job that it no longer holds.
async fn is_lost(home: &Home, zombie: &Lease) {
    let before = home.log(zombie.job.id).await;
    let mut zombie = zombie.clone();
    assert_eq!(home.store.renew(&zombie, None).await.unwrap(), Hold::Lost);
    let late = preview(&zombie, 10);
    assert_eq!(home.store.publish(&mut zombie, &late).await.unwrap(), Hold::Lost);
    assert_eq!(home.store.finish(&mut zombie, &completed()).await.unwrap(), Finish::Lost);
    assert_eq!(home.store.release(&zombie, &Release::Drain).await.unwrap(), Released::Lost);
    assert_eq!(home.log(zombie.job.id).await, before, "a zombie leaves no trace");
}

pub async fn a_stale_worker_is_rejected_before_the_next_claim(home: &Home) {
    home.submit(&job("a heart")).await;
    let zombie = home.claim("w1").await;
    home.pass(16);
    home.reap().await;
    is_lost(home, &zombie).await;
}

pub async fn a_stale_worker_is_rejected_after_the_next_claim(home: &Home) {
    home.submit(&job("a heart")).await;
    let zombie = home.claim("w1").await;
    home.pass(16);
    home.reap().await;
    let mut lease = home.claim("w1").await;
    assert_eq!(lease.attempt, 2);
    is_lost(home, &zombie).await;
    home.publish(&mut lease, 0).await;
    is_lost(home, &zombie).await;
    home.store.finish(&mut lease, &completed()).await.unwrap();
    is_lost(home, &zombie).await;
}

pub async fn another_worker_with_the_same_attempt_is_lost(home: &Home) {
    home.submit(&job("a heart")).await;
    let lease = home.claim("w1").await;
    let mut impostor = lease.clone();
    impostor.worker = worker("w2");
    is_lost(home, &impostor).await;
    assert_eq!(home.store.renew(&lease, None).await.unwrap(), Hold::Held);
}

pub async fn a_repeated_preview_is_written_once(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    let mut answer_was_lost = lease.clone();
    home.publish(&mut lease, 0).await;
    home.publish(&mut answer_was_lost, 0).await;
    assert_eq!(home.kinds(job.id).await, ["queued", "started", "preview"]);
    home.publish(&mut answer_was_lost, 5).await;
    assert_eq!(home.log(job.id).await.last().map(|(seq, _)| *seq), Some(4));
}

pub async fn a_preview_with_a_wrong_number_writes_nothing(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    let mut behind = lease.clone();
    home.publish(&mut lease, 0).await;
    home.publish(&mut lease, 5).await;
    home.publish(&mut behind, 10).await;
    assert_eq!(home.kinds(job.id).await, ["queued", "started", "preview", "preview"]);
    // It continues with the log's numbers.
    home.publish(&mut behind, 10).await;
    assert_eq!(home.log(job.id).await.len(), 5);
}

pub async fn the_log_keeps_the_newest_previews(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    for step in 0..40 {
        home.publish(&mut lease, step).await;
    }
    let seqs: Vec<u64> = home.log(job.id).await.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, [1, 2].into_iter().chain(27..=42).collect::<Vec<_>>());

    // A requeue deletes the attempt's previews, and the next attempt starts new ones.
    home.store.release(&lease, &Release::Drain).await.unwrap();
    assert_eq!(home.kinds(job.id).await, ["queued", "started", "queued"]);
    let mut lease = home.claim("w2").await;
    home.publish(&mut lease, 0).await;
    assert_eq!(home.kinds(job.id).await, ["queued", "started", "queued", "started", "preview"]);
}

pub async fn a_finish_with_a_wrong_number_finds_the_right_one(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    let mut behind = lease.clone();
    for step in [0, 5, 10] {
        home.publish(&mut lease, step).await;
    }
    assert_eq!(home.store.finish(&mut behind, &completed()).await.unwrap(), Finish::Finished);
    let log = home.log(job.id).await;
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].0, 6);
}

pub async fn a_repeated_finish_is_finished(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    let refused = Ending::failed(FailureCode::BadRequest, "no such \"scheduler\" — naïve".to_owned());
    assert_eq!(home.store.finish(&mut lease.clone(), &refused).await.unwrap(), Finish::Finished);
    assert_eq!(home.store.finish(&mut lease, &refused).await.unwrap(), Finish::Finished);
    assert_eq!(home.store.status(job.id).await.unwrap().unwrap().status, Status::Failed);
    let message = "no such \"scheduler\" — naïve".to_owned();
    assert_eq!(home.log(job.id).await, [(3, Event::Failed { code: FailureCode::BadRequest, message })]);
}

pub async fn a_repeated_release_is_lost(home: &Home) {
    home.submit(&job("a heart")).await;
    let lease = home.claim("w1").await;
    assert_eq!(home.store.release(&lease, &Release::Drain).await.unwrap(), Released::Released);
    assert_eq!(home.store.release(&lease, &Release::Drain).await.unwrap(), Released::Lost);
}

pub async fn a_publish_renews_the_lease(home: &Home) {
    home.submit(&job("a heart")).await;
    let mut lease = home.claim("w1").await;
    home.pass(10);
    home.publish(&mut lease, 0).await;
    home.pass(10);
    assert_eq!(home.reap().await, (vec![], vec![]));
    assert_eq!(home.store.renew(&lease, None).await.unwrap(), Hold::Held);
    home.pass(14);
    assert_eq!(home.reap().await, (vec![], vec![]));
    home.pass(2);
    assert_eq!(home.reap().await, (vec![], vec![lease.job.id]));
}
