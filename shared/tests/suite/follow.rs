//! Followers miss nothing, receive nothing twice, and always end.

use glimpse_shared::{
    event::{CancelledBy, Event, Followed, Image},
    job::Release,
    store::Preview,
};

use super::{Fixture, completed, cursor, frame, job, next, over};

pub async fn a_follower_sees_everything_in_order(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut stream = fixture.store.follow(job.id, None);
    assert_eq!(frame(next(&mut stream).await), (1, Event::Queued { position: 0 }));
    let mut lease = fixture.claim("w1").await;
    let (seq, started) = frame(next(&mut stream).await);
    assert_eq!((seq, started), (2, Event::Started { attempt: 1, worker: lease.worker.clone() }));
    for step in [0, 5, 10, 15] {
        fixture.publish(&mut lease, step).await;
        let (_, event) = frame(next(&mut stream).await);
        assert!(matches!(event, Event::Preview { attempt: 1, steps: 20, step: of, .. } if of == step));
    }
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    let (seq, event) = frame(next(&mut stream).await);
    assert!(matches!(event, Event::Completed { .. }));
    assert_eq!(seq, 7);
    over(&mut stream).await;
}

pub async fn a_follower_that_returns_misses_and_repeats_nothing(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    fixture.publish(&mut lease, 0).await;
    fixture.publish(&mut lease, 5).await;
    let mut stream = fixture.store.follow(job.id, cursor(3));
    assert_eq!(frame(next(&mut stream).await).0, 4);
    drop(stream);
    fixture.publish(&mut lease, 10).await;
    let mut stream = fixture.store.follow(job.id, cursor(4));
    assert_eq!(frame(next(&mut stream).await).0, 5);
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(frame(next(&mut stream).await).0, 6);
    over(&mut stream).await;
}

pub async fn a_late_follower_gets_the_terminal_event_alone(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    fixture.publish(&mut lease, 0).await;
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    for after in [None, cursor(2), cursor(4)] {
        let mut stream = fixture.store.follow(job.id, after);
        let (seq, event) = frame(next(&mut stream).await);
        assert_eq!(seq, 4);
        assert!(matches!(event, Event::Completed { .. }));
        over(&mut stream).await;
    }
}

pub async fn a_job_that_never_was_is_lost(fixture: &Fixture) {
    let mut stream = fixture.store.follow(job("never submitted").id, None);
    assert_eq!(next(&mut stream).await, Followed::Lost);
    over(&mut stream).await;
}

pub async fn a_cursor_from_the_future_is_a_gap(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    let mut stream = fixture.store.follow(job.id, cursor(40));
    assert_eq!(next(&mut stream).await, Followed::Gap);
    fixture.publish(&mut lease, 0).await;
    assert_eq!(frame(next(&mut stream).await).0, 3);
    fixture.store.cancel(job.id, CancelledBy::Client).await.unwrap();
    assert_eq!(frame(next(&mut stream).await).0, 4);
    over(&mut stream).await;

    let mut stream = fixture.store.follow(job.id, cursor(40));
    assert_eq!(next(&mut stream).await, Followed::Gap);
    assert_eq!(frame(next(&mut stream).await).0, 4);
    over(&mut stream).await;
}

pub async fn many_followers_see_the_same(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut streams: Vec<_> = (0..50).map(|_| fixture.store.follow(job.id, None)).collect();
    for stream in &mut streams {
        assert_eq!(frame(next(stream).await).0, 1);
    }
    let mut lease = fixture.claim("w1").await;
    fixture.publish(&mut lease, 0).await;
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    for stream in &mut streams {
        let mut last = 1;
        loop {
            let (seq, event) = frame(next(stream).await);
            assert!(seq > last, "{seq} after {last}");
            last = seq;
            if event.kind().is_terminal() {
                break;
            }
        }
        assert_eq!(last, 4);
        over(stream).await;
    }
}

pub async fn a_give_back_is_followed_through(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut stream = fixture.store.follow(job.id, None);
    let mut kinds = Vec::new();
    let mut lease = fixture.claim("w1").await;
    fixture.publish(&mut lease, 0).await;
    for _ in 0..3 {
        kinds.push(frame(next(&mut stream).await).1.kind().as_str());
    }
    fixture.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    kinds.push(frame(next(&mut stream).await).1.kind().as_str());
    let mut lease = fixture.claim("w2").await;
    kinds.push(frame(next(&mut stream).await).1.kind().as_str());
    fixture.publish(&mut lease, 0).await;
    let (seq, event) = frame(next(&mut stream).await);
    assert!(matches!(event, Event::Preview { attempt: 2, .. }));
    assert_eq!((seq, kinds), (6, vec!["queued", "started", "preview", "queued", "started"]));
}

pub async fn a_forgotten_job_ends_its_stream(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut lease = fixture.claim("w1").await;
    fixture.store.finish(&mut lease, &completed()).await.unwrap();
    fixture.store.forget(job.id).await.unwrap();
    let mut stream = fixture.store.follow(job.id, cursor(3));
    assert_eq!(next(&mut stream).await, Followed::Lost);
    over(&mut stream).await;
}

pub async fn a_big_event_arrives_whole(fixture: &Fixture) {
    let job = job("a heart");
    fixture.submit(&job).await;
    let mut stream = fixture.store.follow(job.id, cursor(1));
    let mut lease = fixture.claim("w1").await;
    assert_eq!(frame(next(&mut stream).await).0, 2);
    let image = Image::new("image/jpeg", 2048, 1024, &vec![0x5a; 600 * 1024]);
    fixture.store.publish(&mut lease, &Preview::new(1, 0, 20, image.clone())).await.unwrap();
    match frame(next(&mut stream).await) {
        (3, Event::Preview { image: arrived, .. }) => {
            assert!(arrived == image, "the picture changed on its way")
        }
        other => panic!("another event: {}", other.0),
    }
    fixture.publish(&mut lease, 5).await;
    assert_eq!(frame(next(&mut stream).await).0, 4);
}
