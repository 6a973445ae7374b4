//! The events of one job that are not yet sent to a client.
//!
//! A task takes a job's events as they arrive, so that their source never waits for a client. At most [`SLACK`] bytes
//! of previews wait here; above that, a new preview replaces the older ones. Other events are never dropped.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, stream::BoxStream};
use glimpse_shared::event::{EventKind, Followed, Frame};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// The maximum of bytes of previews in the buffer: enough for a burst of small previews.
const SLACK: usize = 64 * 1024;

/// The events of one job for one client.
pub(crate) struct ClientBuffer {
    shared: Arc<SharedQueue>,
    _filler: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct SharedQueue {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Followed>,
    ended: bool,
}

impl ClientBuffer {
    /// Starts to buffer `events`.
    pub(crate) fn fill(mut events: BoxStream<'static, Followed>) -> Self {
        let shared = Arc::new(SharedQueue::default());
        let filled = shared.clone();
        let filler = tokio::spawn(async move {
            while let Some(followed) = events.next().await {
                filled.lock().push(followed);
                filled.changed.notify_one();
            }
            filled.lock().ended = true;
            filled.changed.notify_one();
        });
        Self { shared, _filler: AbortOnDropHandle::new(filler) }
    }

    /// The next event; `None` after the last. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Option<Followed> {
        loop {
            {
                let mut queue = self.shared.lock();
                if let Some(followed) = queue.events.pop_front() {
                    return Some(followed);
                }
                if queue.ended {
                    return None;
                }
            }
            self.shared.changed.notified().await;
        }
    }
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic cannot leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, followed: Followed) {
        if let Some(newest) = preview(&followed) {
            let waiting: usize = self.events.iter().filter_map(preview).map(size).sum();
            if waiting + size(newest) > SLACK {
                self.events.retain(|followed| preview(followed).is_none());
            }
        }
        self.events.push_back(followed);
    }
}

fn preview(followed: &Followed) -> Option<&Frame> {
    match followed {
        Followed::Frame(frame) if frame.kind == EventKind::Preview => Some(frame),
        _ => None,
    }
}

fn size(frame: &Frame) -> usize {
    frame.bytes().len()
}

#[cfg(test)]
mod tests {
    use glimpse_shared::{
        event::{CancelledBy, Event, Image},
        id::Seq,
    };

    use super::*;

    fn frame(seq: u64, event: &Event) -> Followed {
        Followed::Frame(Frame::new(Seq(seq), event))
    }

    fn picture(seq: u64, bytes: usize) -> Followed {
        let image = Image::new("image/jpeg", 8, 8, &vec![0; bytes]);
        frame(seq, &Event::Preview { attempt: 1, step: 0, steps: 20, image })
    }

    fn seqs(queue: &Queue) -> Vec<u64> {
        let seq = |followed: &Followed| match followed {
            Followed::Frame(frame) => frame.seq.0,
            _ => 0,
        };
        queue.events.iter().map(seq).collect()
    }

    #[test]
    fn a_burst_of_small_previews_is_kept() {
        let mut queue = Queue::default();
        (1..=4).for_each(|seq| queue.push(picture(seq, 4_000)));
        assert_eq!(seqs(&queue), [1, 2, 3, 4]);
    }

    #[test]
    fn a_large_preview_replaces_only_older_previews() {
        let mut queue = Queue::default();
        queue.push(frame(1, &Event::Queued { position: 0 }));
        (2..=9).for_each(|seq| queue.push(picture(seq, 100_000)));
        queue.push(Followed::Gap);
        queue.push(frame(10, &Event::Cancelled { by: CancelledBy::Client }));
        assert_eq!(seqs(&queue), [1, 9, 0, 10]);
    }
}
