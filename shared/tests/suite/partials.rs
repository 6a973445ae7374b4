//! Partial pictures: each is written once, and stays until its job is deleted.

use glimpse_shared::{
    event::{CancelledBy, Event},
    job::Release,
    store::{Hold, Lease, Preview},
};
use glimpse_test_support::jobs::image;

use super::{Fixture, completed, cursor, frame, job, next, over, rules};

async fn keep(fixture: &Fixture, lease: &mut Lease, index: u32, step: u32) {
    let partial = Preview::partial(lease.attempt, index, step, 20, image());
    assert_eq!(fixture.store.publish(lease, &partial).await.unwrap(), Hold::Held);
}

/// The index of each partial picture in these events.
fn indices(log: &[(u64, Event)]) -> Vec<u32> {
    let index = |(_, event): &(u64, Event)| match event {
        Event::Partial { index, .. } => Some(*index),
        _ => None,
    };
    log.iter().filter_map(index).collect()
}

pub async fn newer_previews_replace_no_partial_picture(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    fixture.publish(&mut lease, 0).await;
    keep(fixture, &mut lease, 0, 1).await;
    for step in 2..40 {
        fixture.publish(&mut lease, step).await;
    }
    let log = fixture.log(job.id).await;
    assert_eq!(indices(&log), [0]);
    assert_eq!(log.len() as u64, 3 + rules().previews_kept);
}

pub async fn partial_pictures_outlive_the_end(fixture: &Fixture) {
    for ends in ["completed", "cancelled"] {
        let job = job("a heart");
        fixture.submit(&job).await;
        let mut lease = fixture.claim("w1").await;
        keep(fixture, &mut lease, 0, 5).await;
        fixture.publish(&mut lease, 8).await;
        keep(fixture, &mut lease, 1, 10).await;
        match ends {
            "completed" => drop(fixture.store.finish(&mut lease, &completed()).await.unwrap()),
            _ => drop(fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap()),
        }
        assert_eq!(fixture.kinds(job.id).await, ["partial", "partial", ends]);
        // A follower that had received the first one.
        let mut stream = fixture.store.follow(job.id, cursor(3));
        assert!(matches!(frame(next(&mut stream).await), (5, Event::Partial { index: 1, .. })));
        assert_eq!(frame(next(&mut stream).await).1.kind().as_str(), ends);
        over(&mut stream).await;
    }
}

pub async fn a_partial_picture_is_written_once_by_any_attempt(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    fixture.publish(&mut lease, 0).await;
    let mut answer_was_lost = lease.clone();
    keep(fixture, &mut lease, 0, 5).await;
    keep(fixture, &mut answer_was_lost, 0, 5).await;
    assert_eq!(fixture.kinds(job.id).await, ["queued", "started", "preview", "partial"]);

    fixture.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    let mut lease = fixture.claim("w2").await;
    keep(fixture, &mut lease, 0, 5).await;
    keep(fixture, &mut lease, 1, 10).await;
    let log = fixture.log(job.id).await;
    assert_eq!(indices(&log), [0, 1]);
    assert!(matches!(log[2].1, Event::Partial { attempt: 1, .. }), "the first attempt's picture stays");
}

pub async fn a_partial_picture_with_a_wrong_number_finds_the_right_one(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    let mut behind = lease.clone();
    fixture.publish(&mut lease, 0).await;
    keep(fixture, &mut behind, 0, 5).await;
    assert_eq!(fixture.kinds(job.id).await, ["queued", "started", "preview", "partial"]);
}
