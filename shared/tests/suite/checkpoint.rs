//! Checkpoints: the next attempt gets the checkpoint of the last one.

use glimpse_shared::{
    event::CancelledBy,
    job::Release,
    store::{Checkpoint, Hold, Lease},
};

use super::{Fixture, completed, job, worker};

/// Bytes that are not text in any encoding.
fn after_step(step: u8) -> Checkpoint {
    Checkpoint::new(vec![0, 0xff, 0xc3, step, b'\r', b'\n']).unwrap()
}

async fn keep(fixture: &Fixture, lease: &Lease, checkpoint: &Checkpoint) {
    assert_eq!(fixture.store.renew(lease, Some(checkpoint)).await.unwrap(), Hold::Held);
}

pub async fn a_lost_workers_checkpoint_goes_to_the_next(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let first = fixture.claim("w1").await;
    assert_eq!(first.checkpoint, None);
    keep(fixture, &first, &after_step(5)).await;
    keep(fixture, &first, &after_step(10)).await;
    // A renewal without a checkpoint keeps the previous one.
    assert_eq!(fixture.store.renew(&first, None).await.unwrap(), Hold::Held);
    fixture.pass(16);
    fixture.reap().await;
    let second = fixture.claim("w2").await;
    assert_eq!((second.attempt, &second.checkpoint), (2, &Some(after_step(10))));
    assert_eq!(fixture.kinds(job.id).await, ["queued", "started", "queued", "started"]);

    // An attempt that is lost before its first checkpoint leaves the previous one.
    fixture.pass(16);
    fixture.reap().await;
    assert_eq!(fixture.claim("w3").await.checkpoint, Some(after_step(10)));
}

pub async fn a_renewal_with_a_checkpoint_is_a_renewal(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let lease = fixture.claim("w1").await;
    fixture.pass(14);
    keep(fixture, &lease, &after_step(5)).await;
    fixture.pass(14);
    assert_eq!(fixture.reap().await, (vec![], vec![]));
    fixture.pass(1);
    assert_eq!(fixture.reap().await, (vec![], vec![lease.job.id]));
}

pub async fn a_drained_job_keeps_its_checkpoint(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let lease = fixture.claim("w1").await;
    keep(fixture, &lease, &after_step(5)).await;
    fixture.store.release(&lease, &Release::Drain).await.unwrap();
    let again = fixture.try_claim(&worker("w2"), 7).await.unwrap();
    assert_eq!(again.checkpoint, Some(after_step(5)));
    // A repeated claim returns the same answer, with the checkpoint.
    assert_eq!(fixture.try_claim(&worker("w2"), 7).await, Some(again));
}

pub async fn a_fault_takes_the_checkpoint_with_it(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let lease = fixture.claim("w1").await;
    keep(fixture, &lease, &after_step(5)).await;
    fixture.store.release(&lease, &Release::Fault("NaN in the latents".to_owned())).await.unwrap();
    assert_eq!(fixture.claim("w2").await.checkpoint, None);
}

pub async fn a_stale_worker_cannot_store_a_checkpoint(fixture: &Fixture) {
    fixture.submit(&job("a heart")).await;
    let zombie = fixture.claim("w1").await;
    fixture.pass(16);
    fixture.reap().await;
    assert_eq!(fixture.store.renew(&zombie, Some(&after_step(5))).await.unwrap(), Hold::Lost);
    let lease = fixture.claim("w2").await;
    assert_eq!(lease.checkpoint, None);
    assert_eq!(fixture.store.renew(&zombie, Some(&after_step(5))).await.unwrap(), Hold::Lost);
    fixture.store.release(&lease, &Release::Drain).await.unwrap();
    let lease = fixture.claim("w3").await;
    assert_eq!(lease.checkpoint, None);
    fixture.store.cancel(lease.job.id, CancelledBy::Client).await.unwrap();
    assert_eq!(fixture.store.renew(&lease, Some(&after_step(5))).await.unwrap(), Hold::Cancelled);
}

pub async fn no_checkpoint_outlives_its_job(fixture: &Fixture) {
    let job = job("a heart");
    for end in ["finish", "cancel", "reap"] {
        fixture.submit(&job).await;
        let mut lease = fixture.claim("w1").await;
        assert_eq!(lease.checkpoint, None, "before {end}");
        keep(fixture, &lease, &after_step(5)).await;
        match end {
            "finish" => drop(fixture.store.finish(&mut lease, &completed()).await.unwrap()),
            "cancel" => drop(fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap()),
            _ => {
                fixture.pass(3600);
                assert_eq!(fixture.reap().await.0, [job.id]);
            }
        }
        // The same id may be reused.
        fixture.store.forget(job.id).await.unwrap();
    }
    fixture.submit(&job).await;
    assert_eq!(fixture.claim("w1").await.checkpoint, None);
}

pub async fn the_largest_checkpoint_arrives_whole(fixture: &Fixture) {
    let bytes: Vec<u8> = (0..Checkpoint::MAX_BYTES).map(|at| (at % 251) as u8).collect();
    assert_eq!(Checkpoint::new([&bytes[..], b"!"].concat()), None);
    assert_eq!(Checkpoint::new(Vec::new()), None);
    let largest = Checkpoint::new(bytes).unwrap();
    fixture.submit(&job("a heart")).await;
    let lease = fixture.claim("w1").await;
    keep(fixture, &lease, &largest).await;
    fixture.store.release(&lease, &Release::Drain).await.unwrap();
    assert!(fixture.claim("w2").await.checkpoint == Some(largest));
}
