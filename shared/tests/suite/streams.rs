//! Reads a follower's stream.

use futures::{StreamExt, stream::BoxStream};
use glimpse_shared::{
    event::{Event, Followed},
    id::Seq,
};
use glimpse_test_support::SOON;

/// The next item of a follower; it must come within [`SOON`].
pub async fn next(stream: &mut BoxStream<'static, Followed>) -> Followed {
    tokio::time::timeout(SOON, stream.next()).await.expect("an event within the deadline").expect("an event")
}

/// Checks that the stream ends.
pub async fn over(stream: &mut BoxStream<'static, Followed>) {
    let end = tokio::time::timeout(SOON, stream.next()).await.expect("an end within the deadline");
    assert_eq!(end, None);
}

/// The number and the event of a frame.
pub fn frame(followed: Followed) -> (u64, Event) {
    match followed {
        Followed::Frame(frame) => (frame.seq.0, frame.event().expect("an event of ours")),
        other => panic!("not a frame: {other:?}"),
    }
}

pub fn cursor(seq: u64) -> Option<Seq> {
    Some(Seq(seq))
}
