//! What a listener has heard and not yet taken: bounded, so that its slowness is its own.

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

/// The most that one follower's untaken frames may weigh before older previews give way to newer ones.
pub(super) const INBOX_BYTES: usize = 256 * 1024;

/// A message of a channel, read once for all who listen.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) payload: Bytes,
    /// What it says, if that is an event in full.
    pub(super) frame: Option<Frame>,
}

impl Message {
    pub(super) fn new(payload: Bytes) -> Self {
        Self { frame: Frame::parse(payload.clone()), payload }
    }
}

/// Who listens to a channel. Called by the task that reads Redis: nothing here may wait.
pub(super) trait Listener: Send + Sync {
    /// Somebody said something.
    fn hear(&self, message: &Message);
    /// From here on nothing is missed; before, something may have been.
    fn confirmed(&self);
}

/// What a follower does next.
#[derive(Debug)]
pub(super) enum News {
    /// Read the log.
    Reread,
    /// An event came.
    Heard(Heard),
}

/// An event, and from which seq on all up to it were heard: previews before it may have given way to it.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) from: Seq,
    pub(super) frame: Frame,
}

/// A follower's inbox.
#[derive(Default)]
pub(super) struct Inbox {
    untaken: Mutex<Untaken>,
    news: Notify,
}

#[derive(Default)]
struct Untaken {
    reread: bool,
    heard: VecDeque<Heard>,
    bytes: usize,
}

impl Inbox {
    /// The next thing to do. May be dropped at any time.
    pub(super) async fn take(&self) -> News {
        loop {
            {
                let mut untaken = self.lock();
                // First, because what was heard is of use only to one who knows what was before it.
                if std::mem::take(&mut untaken.reread) {
                    return News::Reread;
                }
                if let Some(heard) = untaken.heard.pop_front() {
                    untaken.bytes -= heard.frame.bytes().len();
                    return News::Heard(heard);
                }
            }
            self.news.notified().await;
        }
    }

    /// Drops what a reading of the log up to `last` has told already.
    pub(super) fn drop_until(&self, last: Option<Seq>) {
        let mut untaken = self.lock();
        untaken.heard.retain(|heard| Some(heard.frame.seq) > last || heard.frame.kind.is_terminal());
        untaken.bytes = untaken.heard.iter().map(|heard| heard.frame.bytes().len()).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Untaken> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Inbox {
    fn hear(&self, message: &Message) {
        let mut untaken = self.lock();
        match &message.frame {
            Some(frame) => untaken.push(frame.clone()),
            // Too large for the channel, or not for this version to read: the log has it.
            None => untaken.reread = true,
        }
        drop(untaken);
        self.news.notify_one();
    }

    fn confirmed(&self) {
        self.lock().reread = true;
        self.news.notify_one();
    }
}

impl Untaken {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes().len();
        self.heard.push_back(Heard { from: frame.seq, frame });
        while self.bytes > INBOX_BYTES {
            let is_preview = |heard: &Heard| heard.frame.kind == EventKind::Preview;
            let oldest = self.heard.iter().position(is_preview);
            if oldest == self.heard.iter().rposition(is_preview) {
                // One preview at most: the newest stays, and so does all that is no preview.
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

/// The inbox of one who wants to know which running jobs of an app are cancelled.
pub(super) struct Cancellations {
    app: App,
    untaken: Mutex<VecDeque<JobId>>,
    news: Notify,
}

impl Cancellations {
    pub(super) fn new(app: App) -> Self {
        Self { app, untaken: Mutex::default(), news: Notify::new() }
    }

    pub(super) async fn take(&self) -> JobId {
        loop {
            if let Some(id) = self.untaken.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return id;
            }
            self.news.notified().await;
        }
    }
}

impl Listener for Cancellations {
    fn hear(&self, message: &Message) {
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
        self.news.notify_one();
    }

    fn confirmed(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(seq: u64, bytes: usize) -> Message {
        Message::new(format!(r#"{seq} {{"type":"preview","x":"{}"}}"#, "x".repeat(bytes)).into())
    }

    async fn heard(inbox: &Inbox) -> (u64, u64) {
        match inbox.take().await {
            News::Heard(heard) => (heard.from.0, heard.frame.seq.0),
            News::Reread => panic!("nothing to read again"),
        }
    }

    #[tokio::test]
    async fn the_newest_preview_and_all_that_is_none_stay() {
        let inbox = Inbox::default();
        inbox.hear(&Message::new("2 {\"type\":\"started\"}".into()));
        for seq in 3..=12 {
            inbox.hear(&preview(seq, 100 * 1024));
        }
        inbox.hear(&Message::new("13 {\"type\":\"cancelled\"}".into()));
        assert_eq!(heard(&inbox).await, (2, 2));
        // Previews 3 to 10 gave way, without a hole.
        assert_eq!(heard(&inbox).await, (3, 11));
        assert_eq!(heard(&inbox).await, (12, 12));
        assert_eq!(heard(&inbox).await, (13, 13));
        assert_eq!(inbox.lock().bytes, 0);
    }

    #[tokio::test]
    async fn one_preview_beyond_the_bound_is_kept() {
        let inbox = Inbox::default();
        inbox.hear(&preview(3, 2 * INBOX_BYTES));
        inbox.hear(&preview(4, 2 * INBOX_BYTES));
        assert_eq!(heard(&inbox).await, (3, 4));
    }

    #[tokio::test]
    async fn a_hole_is_not_papered_over() {
        let inbox = Inbox::default();
        inbox.hear(&preview(3, INBOX_BYTES));
        inbox.hear(&preview(5, INBOX_BYTES));
        assert_eq!(heard(&inbox).await, (5, 5));
    }

    #[tokio::test]
    async fn a_seq_without_its_event_is_read_from_the_log() {
        let inbox = Inbox::default();
        inbox.hear(&preview(3, 1));
        inbox.hear(&Message::new("4 ".into()));
        assert!(matches!(inbox.take().await, News::Reread));
        inbox.drop_until(Some(Seq(4)));
        assert!(inbox.lock().heard.is_empty());
    }
}
