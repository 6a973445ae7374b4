//! Followers miss nothing, receive nothing twice, and always end.

use glimpse_shared::{
    event::{CancelledBy, Event, Followed, Image},
    job::Release,
    store::Preview,
};

use super::{Home, completed, cursor, frame, job, next, over};

pub async fn a_follower_sees_everything_in_order(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut stream = home.store.follow(job.id, None);
    assert_eq!(frame(next(&mut stream).await), (1, Event::Queued { position: 0 }));
    let mut lease = home.claim("w1").await;
    let (seq, started) = frame(next(&mut stream).await);
    assert_eq!((seq, started), (2, Event::Started { attempt: 1, worker: lease.worker.clone() }));
    for step in [0, 5, 10, 15] {
        home.publish(&mut lease, step).await;
        let (_, event) = frame(next(&mut stream).await);
        assert!(matches!(event, Event::Preview { attempt: 1, steps: 20, step: of, .. } if of == step));
    }
    home.store.finish(&mut lease, &completed()).await.unwrap();
    let (seq, event) = frame(next(&mut stream).await);
    assert!(matches!(event, Event::Completed { .. }));
    assert_eq!(seq, 7);
    over(&mut stream).await;
}

pub async fn a_follower_that_returns_misses_and_repeats_nothing(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    home.publish(&mut lease, 0).await;
    home.publish(&mut lease, 5).await;
    let mut stream = home.store.follow(job.id, cursor(3));
    assert_eq!(frame(next(&mut stream).await).0, 4);
    drop(stream);
    home.publish(&mut lease, 10).await;
    let mut stream = home.store.follow(job.id, cursor(4));
    assert_eq!(frame(next(&mut stream).await).0, 5);
    home.store.finish(&mut lease, &completed()).await.unwrap();
    assert_eq!(frame(next(&mut stream).await).0, 6);
    over(&mut stream).await;
}

pub async fn a_late_follower_gets_the_terminal_event_alone(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    home.publish(&mut lease, 0).await;
    home.store.finish(&mut lease, &completed()).await.unwrap();
    for after in [None, cursor(2), cursor(4)] {
        let mut stream = home.store.follow(job.id, after);
        let (seq, event) = frame(next(&mut stream).await);
        assert_eq!(seq, 4);
        assert!(matches!(event, Event::Completed { .. }));
        over(&mut stream).await;
    }
}

pub async fn a_job_that_never_was_is_lost(home: &Home) {
    let mut stream = home.store.follow(job("never submitted").id, None);
    assert_eq!(next(&mut stream).await, Followed::Lost);
    over(&mut stream).await;
}

pub async fn a_cursor_from_the_future_is_a_gap(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    let mut stream = home.store.follow(job.id, cursor(40));
    assert_eq!(next(&mut stream).await, Followed::Gap);
    home.publish(&mut lease, 0).await;
    assert_eq!(frame(next(&mut stream).await).0, 3);
    home.store.cancel(job.id, CancelledBy::Client).await.unwrap();
    assert_eq!(frame(next(&mut stream).await).0, 4);
    over(&mut stream).await;

    let mut stream = home.store.follow(job.id, cursor(40));
    assert_eq!(next(&mut stream).await, Followed::Gap);
    assert_eq!(frame(next(&mut stream).await).0, 4);
    over(&mut stream).await;
}

pub async fn many_followers_see_the_same(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut streams: Vec<_> = (0..50).map(|_| home.store.follow(job.id, None)).collect();
    for stream in &mut streams {
        assert_eq!(frame(next(stream).await).0, 1);
    }
    let mut lease = home.claim("w1").await;
    home.publish(&mut lease, 0).await;
    home.store.finish(&mut lease, &completed()).await.unwrap();
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

pub async fn a_give_back_is_followed_through(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut stream = home.store.follow(job.id, None);
    let mut kinds = Vec::new();
    let mut lease = home.claim("w1").await;
    home.publish(&mut lease, 0).await;
    for _ in 0..3 {
        kinds.push(frame(next(&mut stream).await).1.kind().as_str());
    }
    home.store.release(&lease, &Release::Fault("it broke".to_owned())).await.unwrap();
    kinds.push(frame(next(&mut stream).await).1.kind().as_str());
    let mut lease = home.claim("w2").await;
    kinds.push(frame(next(&mut stream).await).1.kind().as_str());
    home.publish(&mut lease, 0).await;
    let (seq, event) = frame(next(&mut stream).await);
    assert!(matches!(event, Event::Preview { attempt: 2, .. }));
    assert_eq!((seq, kinds), (6, vec!["queued", "started", "preview", "queued", "started"]));
}

pub async fn a_forgotten_job_ends_its_stream(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut lease = home.claim("w1").await;
    home.store.finish(&mut lease, &completed()).await.unwrap();
    home.store.forget(job.id).await.unwrap();
    let mut stream = home.store.follow(job.id, cursor(3));
    assert_eq!(next(&mut stream).await, Followed::Lost);
    over(&mut stream).await;
}

pub async fn a_big_event_arrives_whole(home: &Home) {
    let job = job("a heart");
    home.submit(&job).await;
    let mut stream = home.store.follow(job.id, cursor(1));
    let mut lease = home.claim("w1").await;
    assert_eq!(frame(next(&mut stream).await).0, 2);
    let image = Image::new("image/jpeg", 2048, 1024, &vec![0x5a; 600 * 1024]);
    home.store.publish(&mut lease, &Preview::new(1, 0, 20, image.clone())).await.unwrap();
    match frame(next(&mut stream).await) {
        (3, Event::Preview { image: arrived, .. }) => {
            assert!(arrived == image, "the picture changed on its way")
        }
        other => panic!("another event: {}", other.0),
    }
    home.publish(&mut lease, 5).await;
    assert_eq!(frame(next(&mut stream).await).0, 4);
}
