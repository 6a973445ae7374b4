//! One stream of a job's events.
//!
//! The follower delivers the channel's messages. If it may have missed an event, it reads the log after its cursor. It
//! runs in its client's task and takes from its inbox only when the client asks for the next event.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    backend::Backend,
    inbox::{FollowerInbox, INBOX_BYTES, NextAction, ReceivedEvent},
    log::Read,
    pub_sub::Subscription,
};
use crate::{
    event::{EventKind, Followed, Frame},
    id::{JobId, Seq},
    jitter,
    retry::Waits,
};

/// How long a channel may be silent before the follower reads the log: a lost subscription is silent too.
const SILENCE: Duration = Duration::from_secs(15);

/// One follower of one job.
pub(super) struct Follower {
    backend: Arc<Backend>,
    /// One permit for each read of a log.
    reads: Arc<Semaphore>,
    id: JobId,
    /// The cursor: the last delivered event.
    last: Option<Seq>,
    inbox: Arc<FollowerInbox>,
    _subscription: Subscription,
    /// Events that are not delivered yet.
    ready: VecDeque<Followed>,
    /// Whether `ready` holds the last event.
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
                NextAction::Deliver(received) => self.receive(received).await,
            }
        }
    }

    async fn receive(&mut self, ReceivedEvent { from, frame }: ReceivedEvent) {
        let last = self.last.unwrap_or_default();
        if frame.kind.is_terminal() {
            if from > last.next() {
                // The log of an ended job still has the partial pictures that are missing before it.
                self.read().await;
            }
            // A terminal event counts with any number: nothing comes after it.
            self.deliver(frame);
        } else if frame.seq > last && from <= last.next() {
            self.read_at = next_reading();
            self.deliver(frame);
        } else if frame.seq != last {
            // An event before it is missing, or Redis lost writes and its numbers are lower now. Rarely the last read
            // has delivered it already: see FollowerInbox::drop_until.
            self.read().await;
        }
    }

    /// Reads the log after the cursor. After an error it is read later: when Redis is back, the confirmation of the
    /// subscription causes a read.
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
                tracing::debug!(job_id = %self.id, %error, "cannot read a job's log; retrying");
            }
        }
    }

    fn take_in(&mut self, read: Read) {
        let terminal = read.newest.filter(|newest| newest.kind.is_terminal());
        let newest_seq = terminal.as_ref().map_or(read.newest_seq, |frame| frame.seq);
        // An ended job without a terminal event in its log: the event is lost.
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
        // Entries that this version cannot read count as delivered.
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

/// The time of the next read, with jitter: many followers may have started at the same moment.
fn next_reading() -> Instant {
    Instant::now() + SILENCE.mul_f64(0.9 + 0.2 * jitter::fraction())
}

/// Keeps the newest previews that fit into an inbox, and all other events.
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
