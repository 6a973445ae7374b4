//! The received messages of a listener. An inbox is bounded, so a slow listener delays only itself.

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

/// The maximum of bytes in a follower's inbox. Above it newer previews replace older ones.
pub(super) const INBOX_BYTES: usize = 256 * 1024;

/// A message of a channel, parsed once for all listeners.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) payload: Bytes,
    /// The event; `None` if it was too large for the channel, or if this version cannot read it.
    pub(super) frame: Option<Frame>,
}

impl Message {
    pub(super) fn new(payload: Bytes) -> Self {
        Self { frame: Frame::parse(payload.clone()), payload }
    }
}

/// A listener of a channel. The task that reads from Redis calls it, so it must not block.
pub(super) trait Listener: Send + Sync {
    /// A message arrived.
    fn receive(&self, message: &Message);
    /// The subscription works from now on. Earlier messages may be lost.
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

/// A received event. All events from `from` up to it were received, but newer previews may have replaced older ones.
#[derive(Debug)]
pub(super) struct ReceivedEvent {
    pub(super) from: Seq,
    pub(super) frame: Frame,
}

/// A follower's inbox.
#[derive(Default)]
pub(super) struct FollowerInbox {
    pending: Mutex<Pending>,
    next: Notify,
}

#[derive(Default)]
struct Pending {
    reread: bool,
    received: VecDeque<ReceivedEvent>,
    bytes: usize,
}

impl FollowerInbox {
    /// The next thing to do. May be dropped at any time.
    pub(super) async fn take(&self) -> NextAction {
        loop {
            {
                let mut pending = self.lock();
                // The read comes first, because the log may hold events before the received ones.
                if std::mem::take(&mut pending.reread) {
                    return NextAction::ReadLog;
                }
                if let Some(received) = pending.received.pop_front() {
                    pending.bytes -= received.frame.bytes().len();
                    return NextAction::Deliver(received);
                }
            }
            self.next.notified().await;
        }
    }

    /// Drops the events that a read of the log up to `last` has already delivered.
    pub(super) fn drop_until(&self, last: Option<Seq>) {
        let mut pending = self.lock();
        pending
            .received
            .retain(|received| Some(received.frame.seq) > last || received.frame.kind.is_terminal());
        pending.bytes = pending.received.iter().map(|received| received.frame.bytes().len()).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for FollowerInbox {
    fn receive(&self, message: &Message) {
        let mut pending = self.lock();
        match &message.frame {
            Some(frame) => pending.push(frame.clone()),
            // The log has the event.
            None => pending.reread = true,
        }
        drop(pending);
        self.next.notify_one();
    }

    fn confirmed(&self) {
        self.lock().reread = true;
        self.next.notify_one();
    }
}

impl Pending {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes().len();
        self.received.push_back(ReceivedEvent { from: frame.seq, frame });
        while self.bytes > INBOX_BYTES {
            let is_preview = |received: &ReceivedEvent| received.frame.kind == EventKind::Preview;
            let oldest = self.received.iter().position(is_preview);
            if oldest == self.received.iter().rposition(is_preview) {
                // At most one preview is left: keep it and all other events.
                break;
            }
            let Some(at) = oldest else { break };
            let Some(dropped) = self.received.remove(at) else { break };
            self.bytes -= dropped.frame.bytes().len();
            if let Some(next) = self.received.get_mut(at)
                && next.from == dropped.frame.seq.next()
            {
                next.from = dropped.from;
            }
        }
    }
}

/// The job of a message about a cancelled job of this app, `<id> <app>`.
pub(super) fn cancelled(message: &str, app: &App) -> Option<JobId> {
    let (id, of) = message.split_once(' ')?;
    (of == app.as_str()).then(|| id.parse().ok())?
}

/// The job and the step of a message about a job of this app that should finish early, `<id> <app> finish <step>`.
pub(super) fn finished_early(message: &str, app: &App) -> Option<(JobId, u32)> {
    let (id, rest) = message.split_once(' ')?;
    let step = rest.strip_prefix(app.as_str())?.strip_prefix(" finish ")?;
    Some((id.parse().ok()?, step.parse().ok()?))
}

/// The inbox of a listener for what the workers of an app are told about their jobs.
pub(super) struct Told<T> {
    app: App,
    read: fn(&str, &App) -> Option<T>,
    pending: Mutex<VecDeque<T>>,
    next: Notify,
}

impl<T> Told<T> {
    /// `read` reads a message; other messages of the channel are ignored.
    pub(super) fn new(app: App, read: fn(&str, &App) -> Option<T>) -> Self {
        Self { app, read, pending: Mutex::default(), next: Notify::new() }
    }

    pub(super) async fn take(&self) -> T {
        loop {
            if let Some(told) = self.pending.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return told;
            }
            self.next.notified().await;
        }
    }
}

impl<T: Send> Listener for Told<T> {
    fn receive(&self, message: &Message) {
        let text = std::str::from_utf8(&message.payload).ok();
        let Some(told) = text.and_then(|text| (self.read)(text, &self.app)) else { return };
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() == CANCELLATIONS_KEPT {
            pending.pop_front();
        }
        pending.push_back(told);
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

    async fn received(inbox: &FollowerInbox) -> (u64, u64) {
        match inbox.take().await {
            NextAction::Deliver(received) => (received.from.0, received.frame.seq.0),
            NextAction::ReadLog => panic!("a read of the log, not an event"),
        }
    }

    #[tokio::test]
    async fn a_full_inbox_keeps_the_newest_preview_and_all_other_events() {
        let inbox = FollowerInbox::default();
        inbox.receive(&Message::new("2 {\"type\":\"started\"}".into()));
        for seq in 3..=12 {
            inbox.receive(&preview(seq, 100 * 1024));
        }
        inbox.receive(&Message::new("13 {\"type\":\"cancelled\"}".into()));
        assert_eq!(received(&inbox).await, (2, 2));
        // Previews 3 to 10 were replaced, without a gap.
        assert_eq!(received(&inbox).await, (3, 11));
        assert_eq!(received(&inbox).await, (12, 12));
        assert_eq!(received(&inbox).await, (13, 13));
        assert_eq!(inbox.lock().bytes, 0);
    }

    #[tokio::test]
    async fn one_preview_beyond_the_bound_is_kept() {
        let inbox = FollowerInbox::default();
        inbox.receive(&preview(3, 2 * INBOX_BYTES));
        inbox.receive(&preview(4, 2 * INBOX_BYTES));
        assert_eq!(received(&inbox).await, (3, 4));
    }

    #[tokio::test]
    async fn a_missing_event_is_not_hidden() {
        let inbox = FollowerInbox::default();
        inbox.receive(&preview(3, INBOX_BYTES));
        inbox.receive(&preview(5, INBOX_BYTES));
        assert_eq!(received(&inbox).await, (5, 5));
    }

    #[tokio::test]
    async fn a_seq_without_its_event_is_read_from_the_log() {
        let inbox = FollowerInbox::default();
        inbox.receive(&preview(3, 1));
        inbox.receive(&Message::new("4 ".into()));
        assert!(matches!(inbox.take().await, NextAction::ReadLog));
        inbox.drop_until(Some(Seq(4)));
        assert!(inbox.lock().received.is_empty());
    }
}
