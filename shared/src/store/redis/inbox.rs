//! The messages that a listener has received but not yet taken. It is bounded, so that a slow listener slows down only
//! itself.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    event::{EventKind, Frame},
    id::{App, JobId, Seq},
    store::rules::CANCELLATIONS_KEPT,
};

/// How many bytes of frames may wait for one follower before newer previews replace older ones.
pub(super) const INBOX_BYTES: usize = 256 * 1024;

/// A message of a channel, parsed once for all listeners.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) payload: Bytes,
    /// Its event, if the message has the whole event.
    pub(super) frame: Option<Frame>,
}

impl Message {
    pub(super) fn new(payload: Bytes) -> Self {
        Self { frame: Frame::parse(payload.clone()), payload }
    }
}

/// A listener of a channel. The task that reads from Redis calls it: nothing here may wait.
pub(super) trait Listener: Send + Sync {
    /// A message arrived.
    fn receive(&self, message: &Message);
    /// From now on no message is missed; earlier ones may have been.
    fn confirmed(&self);
}

/// What a follower must do next.
#[derive(Debug)]
pub(super) enum NextAction {
    /// Read the log.
    ReadLog,
    /// An event arrived.
    Deliver(ReceivedEvent),
}

/// An event, and the seq from which all events up to it were received: newer previews may have replaced older ones.
#[derive(Debug)]
pub(super) struct ReceivedEvent {
    pub(super) from: Seq,
    pub(super) frame: Frame,
}

/// A follower's inbox.
#[derive(Default)]
pub(super) struct FollowerInbox {
    untaken: Mutex<Untaken>,
    next: Notify,
}

#[derive(Default)]
struct Untaken {
    reread: bool,
    heard: VecDeque<ReceivedEvent>,
    bytes: usize,
}

impl FollowerInbox {
    /// The next thing to do. May be dropped at any time.
    pub(super) async fn take(&self) -> NextAction {
        loop {
            {
                let mut untaken = self.lock();
                // First, because an event is useful only after the events before it.
                if std::mem::take(&mut untaken.reread) {
                    return NextAction::ReadLog;
                }
                if let Some(heard) = untaken.heard.pop_front() {
                    untaken.bytes -= heard.frame.bytes().len();
                    return NextAction::Deliver(heard);
                }
            }
            self.next.notified().await;
        }
    }

    /// Drops the events that a read of the log up to `last` has already delivered.
    pub(super) fn drop_until(&self, last: Option<Seq>) {
        let mut untaken = self.lock();
        untaken.heard.retain(|heard| Some(heard.frame.seq) > last || heard.frame.kind.is_terminal());
        untaken.bytes = untaken.heard.iter().map(|heard| heard.frame.bytes().len()).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Untaken> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for FollowerInbox {
    fn receive(&self, message: &Message) {
        let mut untaken = self.lock();
        match &message.frame {
            Some(frame) => untaken.push(frame.clone()),
            // Too large for the channel, or not readable for this version: the log has it.
            None => untaken.reread = true,
        }
        drop(untaken);
        self.next.notify_one();
    }

    fn confirmed(&self) {
        self.lock().reread = true;
        self.next.notify_one();
    }
}

impl Untaken {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes().len();
        self.heard.push_back(ReceivedEvent { from: frame.seq, frame });
        while self.bytes > INBOX_BYTES {
            let is_preview = |heard: &ReceivedEvent| heard.frame.kind == EventKind::Preview;
            let oldest = self.heard.iter().position(is_preview);
            if oldest == self.heard.iter().rposition(is_preview) {
                // At most one preview: the newest one stays, and so do all other events.
                break;
            }
            let Some(at) = oldest else { break };
            let Some(dropped) = self.heard.remove(at) else { break };
            self.bytes -= dropped.frame.bytes().len();
            if let Some(next) = self.heard.get_mut(at)
                && next.from == dropped.frame.seq.next()
            {
                next.from = dropped.from;
            }
        }
    }
}

/// The inbox of a listener for cancelled jobs of an app.
pub(super) struct Cancellations {
    app: App,
    untaken: Mutex<VecDeque<JobId>>,
    next: Notify,
}

impl Cancellations {
    pub(super) fn new(app: App) -> Self {
        Self { app, untaken: Mutex::default(), next: Notify::new() }
    }

    pub(super) async fn take(&self) -> JobId {
        loop {
            if let Some(id) = self.untaken.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return id;
            }
            self.next.notified().await;
        }
    }
}

impl Listener for Cancellations {
    fn receive(&self, message: &Message) {
        let said = std::str::from_utf8(&message.payload).ok().and_then(|text| text.split_once(' '));
        let Some(id) = said.filter(|(_, app)| *app == self.app.as_str()).and_then(|(id, _)| id.parse().ok())
        else {
            return;
        };
        let mut untaken = self.untaken.lock().unwrap_or_else(PoisonError::into_inner);
        if untaken.len() == CANCELLATIONS_KEPT {
            untaken.pop_front();
        }
        untaken.push_back(id);
        self.next.notify_one();
    }

    fn confirmed(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(seq: u64, bytes: usize) -> Message {
        Message::new(format!(r#"{seq} {{"type":"preview","x":"{}"}}"#, "x".repeat(bytes)).into())
    }

    async fn heard(inbox: &FollowerInbox) -> (u64, u64) {
        match inbox.take().await {
            NextAction::Deliver(heard) => (heard.from.0, heard.frame.seq.0),
            NextAction::ReadLog => panic!("nothing to read again"),
        }
    }

    #[tokio::test]
    async fn the_newest_preview_and_all_that_is_none_stay() {
        let inbox = FollowerInbox::default();
        inbox.receive(&Message::new("2 {\"type\":\"started\"}".into()));
        for seq in 3..=12 {
            inbox.receive(&preview(seq, 100 * 1024));
        }
        inbox.receive(&Message::new("13 {\"type\":\"cancelled\"}".into()));
        assert_eq!(heard(&inbox).await, (2, 2));
        // Previews 3 to 10 were replaced, without a gap.
        assert_eq!(heard(&inbox).await, (3, 11));
        assert_eq!(heard(&inbox).await, (12, 12));
        assert_eq!(heard(&inbox).await, (13, 13));
        assert_eq!(inbox.lock().bytes, 0);
    }

    #[tokio::test]
    async fn one_preview_beyond_the_bound_is_kept() {
        let inbox = FollowerInbox::default();
        inbox.receive(&preview(3, 2 * INBOX_BYTES));
        inbox.receive(&preview(4, 2 * INBOX_BYTES));
        assert_eq!(heard(&inbox).await, (3, 4));
    }

    #[tokio::test]
    async fn a_hole_is_not_papered_over() {
        let inbox = FollowerInbox::default();
        inbox.receive(&preview(3, INBOX_BYTES));
        inbox.receive(&preview(5, INBOX_BYTES));
        assert_eq!(heard(&inbox).await, (5, 5));
    }

    #[tokio::test]
    async fn a_seq_without_its_event_is_read_from_the_log() {
        let inbox = FollowerInbox::default();
        inbox.receive(&preview(3, 1));
        inbox.receive(&Message::new("4 ".into()));
        assert!(matches!(inbox.take().await, NextAction::ReadLog));
        inbox.drop_until(Some(Seq(4)));
        assert!(inbox.lock().heard.is_empty());
    }
}
