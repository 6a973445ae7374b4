//! Checkpoints: what one attempt leaves to the next.

use glimpse_shared::{
    event::CancelledBy,
    job::Release,
    store::{Checkpoint, Hold, Lease},
};

use super::{Home, completed, job, worker};

/// Bytes that are not text in any encoding.
fn after_step(step: u8) -> Checkpoint {
    Checkpoint::new(vec![0, 0xff, 0xc3, step, b'\r', b'\n']).unwrap()
}

async fn keep(home: &Home, lease: &Lease, checkpoint: &Checkpoint) {
    assert_eq!(home.store.renew(lease, Some(checkpoint)).await.unwrap(), Hold::Held);
}

pub async fn a_lost_workers_checkpoint_goes_to_the_next(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let first = home.claim("w1").await;
    assert_eq!(first.checkpoint, None);
    keep(home, &first, &after_step(5)).await;
    keep(home, &first, &after_step(10)).await;
    // A renewal without a checkpoint keeps the previous one.
    assert_eq!(home.store.renew(&first, None).await.unwrap(), Hold::Held);
    home.pass(16);
    home.reap().await;
    let second = home.claim("w2").await;
    assert_eq!((second.attempt, &second.checkpoint), (2, &Some(after_step(10))));
    assert_eq!(home.kinds(job.id).await, ["queued", "started", "queued", "started"]);

    // An attempt that is lost before its first checkpoint leaves the previous one.
    home.pass(16);
    home.reap().await;
    assert_eq!(home.claim("w3").await.checkpoint, Some(after_step(10)));
}

pub async fn a_renewal_with_a_checkpoint_is_a_renewal(home: &Home) {
    home.submit(&job("a heart")).await;
    let lease = home.claim("w1").await;
    home.pass(14);
    keep(home, &lease, &after_step(5)).await;
    home.pass(14);
    assert_eq!(home.reap().await, (vec![], vec![]));
    home.pass(1);
    assert_eq!(home.reap().await, (vec![], vec![lease.job.id]));
}

pub async fn a_drained_job_keeps_its_checkpoint(home: &Home) {
    home.submit(&job("a heart")).await;
    let lease = home.claim("w1").await;
    keep(home, &lease, &after_step(5)).await;
    home.store.release(&lease, &Release::Drain).await.unwrap();
    let again = home.try_claim(&worker("w2"), 7).await.unwrap();
    assert_eq!(again.checkpoint, Some(after_step(5)));
    // A repeated claim returns the same answer, with the checkpoint.
    assert_eq!(home.try_claim(&worker("w2"), 7).await, Some(again));
}

pub async fn a_fault_takes_the_checkpoint_with_it(home: &Home) {
    home.submit(&job("a heart")).await;
    let lease = home.claim("w1").await;
    keep(home, &lease, &after_step(5)).await;
    home.store.release(&lease, &Release::Fault("NaN in the latents".to_owned())).await.unwrap();
    assert_eq!(home.claim("w2").await.checkpoint, None);
}

pub async fn a_stale_worker_cannot_store_a_checkpoint(home: &Home) {
    home.submit(&job("a heart")).await;
    let zombie = home.claim("w1").await;
    home.pass(16);
    home.reap().await;
    assert_eq!(home.store.renew(&zombie, Some(&after_step(5))).await.unwrap(), Hold::Lost);
    let lease = home.claim("w2").await;
    assert_eq!(lease.checkpoint, None);
    assert_eq!(home.store.renew(&zombie, Some(&after_step(5))).await.unwrap(), Hold::Lost);
    home.store.release(&lease, &Release::Drain).await.unwrap();
    let lease = home.claim("w3").await;
    assert_eq!(lease.checkpoint, None);
    home.store.cancel(lease.job.id, CancelledBy::Client).await.unwrap();
    assert_eq!(home.store.renew(&lease, Some(&after_step(5))).await.unwrap(), Hold::Cancelled);
}

pub async fn no_checkpoint_outlives_its_job(home: &Home) {
    let job = job("a heart");
    for end in ["finish", "cancel", "reap"] {
        home.submit(&job).await;
        let mut lease = home.claim("w1").await;
        assert_eq!(lease.checkpoint, None, "before {end}");
        keep(home, &lease, &after_step(5)).await;
        match end {
            "finish" => drop(home.store.finish(&mut lease, &completed()).await.unwrap()),
            "cancel" => drop(home.store.cancel(job.id, CancelledBy::Client).await.unwrap()),
            _ => {
                home.pass(3600);
                assert_eq!(home.reap().await.0, [job.id]);
            }
        }
        // The same id may be reused.
        home.store.forget(job.id).await.unwrap();
    }
    home.submit(&job).await;
    assert_eq!(home.claim("w1").await.checkpoint, None);
}

pub async fn the_largest_checkpoint_arrives_whole(home: &Home) {
    let bytes: Vec<u8> = (0..Checkpoint::MAX_BYTES).map(|at| (at % 251) as u8).collect();
    assert_eq!(Checkpoint::new([&bytes[..], b"!"].concat()), None);
    assert_eq!(Checkpoint::new(Vec::new()), None);
    let largest = Checkpoint::new(bytes).unwrap();
    home.submit(&job("a heart")).await;
    let lease = home.claim("w1").await;
    keep(home, &lease, &largest).await;
    home.store.release(&lease, &Release::Drain).await.unwrap();
    assert!(home.claim("w2").await.checkpoint == Some(largest));
}
