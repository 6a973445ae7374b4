//! One stream of a job's events.
//!
//! The channel is the fast path; the log decides. The follower reads the log after its cursor whenever it may have
//! missed an event, and otherwise passes on the channel's messages. It runs in its client's own task and takes from its
//! inbox only when the client wants more.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    backend::Backend,
    inbox::{FollowerInbox, INBOX_BYTES, NextAction, ReceivedEvent},
    line::Subscription,
    log::Read,
};
use crate::{
    event::{EventKind, Followed, Frame},
    id::{JobId, Seq},
    jitter,
    retry::Waits,
};

/// How long a job may be silent before its log is read: a lost subscription is silent too.
const SILENCE: Duration = Duration::from_secs(15);

/// One follower of one job.
pub(super) struct Follower {
    backend: Arc<Backend>,
    /// One permit for each log that is being read.
    reads: Arc<Semaphore>,
    id: JobId,
    /// The last event delivered.
    last: Option<Seq>,
    inbox: Arc<FollowerInbox>,
    _subscription: Subscription,
    /// Read from the log and not yet delivered.
    ready: VecDeque<Followed>,
    /// Nothing comes after what is ready.
    over: bool,
    read_at: Instant,
    waits: Waits,
}

impl Follower {
    pub(super) fn new(
        backend: Arc<Backend>,
        reads: Arc<Semaphore>,
        id: JobId,
        after: Option<Seq>,
        inbox: Arc<FollowerInbox>,
        subscription: Subscription,
    ) -> Self {
        Self {
            backend,
            reads,
            id,
            last: after,
            inbox,
            _subscription: subscription,
            ready: VecDeque::new(),
            over: false,
            read_at: next_reading(),
            waits: Waits::new(Duration::from_secs(1), Duration::from_secs(8)),
        }
    }

    /// The next event; `None` after the last.
    pub(super) async fn next(&mut self) -> Option<Followed> {
        loop {
            if let Some(followed) = self.ready.pop_front() {
                return Some(followed);
            }
            if self.over {
                return None;
            }
            let next = tokio::time::timeout_at(self.read_at, self.inbox.take()).await;
            match next.unwrap_or(NextAction::ReadLog) {
                NextAction::ReadLog => self.read().await,
                NextAction::Deliver(heard) => self.receive(heard).await,
            }
        }
    }

    async fn receive(&mut self, ReceivedEvent { from, frame }: ReceivedEvent) {
        let last = self.last.unwrap_or_default();
        if frame.kind.is_terminal() {
            // Whatever its number: nothing comes after it.
            self.deliver(frame);
        } else if frame.seq > last && from <= last.next() {
            self.read_at = next_reading();
            self.deliver(frame);
        } else if frame.seq != last {
            // Something is missing before it; or Redis lost writes and its numbers are lower now. What the last
            // read already delivered is the third case, and rare: see FollowerInbox::drop_until.
            self.read().await;
        }
    }

    /// Reads the log after the cursor. If Redis does not respond, a later read is enough: the confirmation of the
    /// subscription, when Redis is back, causes one.
    async fn read(&mut self) {
        let read = {
            // The semaphore is never closed.
            let _turn = self.reads.acquire().await;
            self.backend.read(self.id, self.last).await
        };
        match read {
            Ok(read) => {
                self.waits.reset();
                self.read_at = next_reading();
                self.take_in(read);
                self.inbox.drop_until(self.last);
            }
            Err(error) => {
                self.read_at = Instant::now() + self.waits.next();
                tracing::debug!(job = %self.id, %error, "a log cannot be read now");
            }
        }
    }

    fn take_in(&mut self, read: Read) {
        let terminal = read.newest.filter(|newest| newest.kind.is_terminal());
        let newest_seq = terminal.as_ref().map_or(read.newest_seq, |frame| frame.seq);
        // A job whose log is empty has lost its end, which is not sent again.
        let gone = read.status.is_none_or(|status| status.is_terminal());
        if terminal.is_none() && gone {
            self.over = true;
            self.ready.push_back(Followed::Lost);
            return;
        }
        if self.last > Some(newest_seq) {
            self.last = Some(newest_seq);
            self.ready.push_back(Followed::Gap);
        }
        for frame in within_bounds(read.frames) {
            self.deliver(frame);
        }
        if let Some(frame) = terminal.filter(|_| !self.over) {
            self.deliver(frame);
        }
        // Entries that could not be read count as delivered too.
        self.last = self.last.max(Some(newest_seq));
    }

    fn deliver(&mut self, frame: Frame) {
        if self.over {
            return;
        }
        self.last = Some(frame.seq);
        self.over = frame.kind.is_terminal();
        self.ready.push_back(Followed::Frame(frame));
    }
}

/// Spreads the reads: many followers of silent jobs may have started at the same moment.
fn next_reading() -> Instant {
    Instant::now() + SILENCE.mul_f64(0.9 + 0.2 * jitter::fraction())
}

/// The newest previews that fit into an inbox, and all other events.
fn within_bounds(mut frames: Vec<Frame>) -> Vec<Frame> {
    let mut bytes = 0;
    let mut newest = true;
    let mut keep: Vec<bool> = Vec::with_capacity(frames.len());
    for frame in frames.iter().rev() {
        bytes += frame.bytes().len();
        let is_preview = frame.kind == EventKind::Preview;
        keep.push(!is_preview || newest || bytes <= INBOX_BYTES);
        newest &= !is_preview;
    }
    let mut keep = keep.into_iter().rev();
    frames.retain(|_| keep.next().unwrap_or(true));
    frames
}
