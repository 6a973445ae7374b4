//! The rules of a job's log: numbers rise without gaps, there is one terminal event and nothing after it, attempts
//! rise, and a worker that lost the job writes nothing.
//!
//! The ledger checks each event when it is written, the simulation the events that its clients receive, and the chaos
//! oracle the events of its watcher and its clients.

use std::fmt;

use glimpse_shared::{
    event::{Event, Frame},
    id::Seq,
    job::Status,
};

/// The parts of a log entry that these rules check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The job is queued: for the first time, or again.
    Queued,
    /// A worker has claimed it.
    Started {
        /// The number of the attempt.
        attempt: u32,
    },
    /// A preview, or a partial picture: a preview that is kept.
    Preview {
        /// The attempt that made it.
        attempt: u32,
        /// The step that it shows.
        step: u32,
    },
    /// The terminal event, and the job's status after it.
    Ended(Status),
}

impl Entry {
    /// Reads a frame; `None` if it is not one of our events.
    pub fn of(frame: &Frame) -> Option<Self> {
        frame.event().as_ref().map(Self::from)
    }
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Self {
        match *event {
            Event::Queued { .. } => Self::Queued,
            Event::Started { attempt, .. } => Self::Started { attempt },
            Event::Preview { attempt, step, .. } | Event::Partial { attempt, step, .. } => {
                Self::Preview { attempt, step }
            }
            Event::Completed { .. } => Self::Ended(Status::Completed),
            Event::Failed { .. } => Self::Ended(Status::Failed),
            Event::Cancelled { .. } => Self::Ended(Status::Cancelled),
        }
    }
}

/// What is wrong with an event at its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// The job had already ended.
    AfterTheEnd,
    /// Its number is not above all earlier numbers.
    OutOfOrder,
    /// This many events are missing before it.
    Missing(u64),
    /// The attempt is not above all earlier attempts.
    AttemptAgain,
    /// A preview of an attempt that does not hold the job.
    Fenced,
    /// A preview that its attempt has already sent, or one of an earlier step.
    PreviewAgain,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AfterTheEnd => f.write_str("an event after the end"),
            Self::OutOfOrder => f.write_str("a number that was there before"),
            Self::Missing(1) => f.write_str("an event is missing"),
            Self::Missing(events) => write!(f, "{events} events are missing"),
            Self::AttemptAgain => f.write_str("an attempt starts that had started before"),
            Self::Fenced => f.write_str("a preview by an attempt that does not hold the job"),
            Self::PreviewAgain => f.write_str("a preview again, or one older than the newest"),
        }
    }
}

/// The events of a job so far, from the first one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct History {
    seq: Seq,
    attempt: u32,
    /// Whether the job is queued since the newest event.
    waits: bool,
    /// The step of the attempt's newest preview.
    step: Option<u32>,
    end: Option<Status>,
    /// Whether a gap was announced since the newest event.
    gap: bool,
}

impl History {
    /// Takes the next event and returns what is wrong with it. It continues from this event in any case.
    #[must_use]
    pub fn hear(&mut self, seq: Seq, entry: Entry) -> Vec<Violation> {
        let mut wrong = Vec::new();
        if self.end.is_some() {
            wrong.push(Violation::AfterTheEnd);
        }
        let missing = seq.0.saturating_sub(self.seq.next().0);
        if seq <= self.seq {
            wrong.push(Violation::OutOfOrder);
        } else if missing > 0 && !self.gap {
            wrong.push(Violation::Missing(missing));
        }
        wrong.extend(self.attempts(entry, missing > 0));
        self.seq = self.seq.max(seq);
        self.gap = false;
        wrong
    }

    /// A gap was announced: events may be missing before the next one.
    pub fn skip(&mut self) {
        self.gap = true;
    }

    /// The number of the newest event; 0 before the first.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The newest attempt; 0 before the first.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How the job ended.
    pub fn end(&self) -> Option<Status> {
        self.end
    }

    /// Checks which attempt may write. Where events are missing, a newer attempt may have started in between.
    fn attempts(&mut self, entry: Entry, missing: bool) -> Option<Violation> {
        match entry {
            Entry::Queued => (self.waits, self.step) = (true, None),
            Entry::Started { attempt } => {
                if attempt <= self.attempt {
                    return Some(Violation::AttemptAgain);
                }
                (self.attempt, self.waits, self.step) = (attempt, false, None);
            }
            Entry::Preview { attempt, step } => {
                if attempt > self.attempt && missing {
                    (self.attempt, self.waits, self.step) = (attempt, false, None);
                }
                if attempt != self.attempt || self.waits {
                    return Some(Violation::Fenced);
                }
                if Some(step) <= self.step {
                    return Some(Violation::PreviewAgain);
                }
                self.step = Some(step);
            }
            Entry::Ended(status) => _ = self.end.get_or_insert(status),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry::*, Violation::*, *};

    /// What is wrong with the last of these events, if the earlier ones are right.
    fn last(events: &[(u64, Entry)]) -> Vec<Violation> {
        let mut history = History::default();
        let mut wrong = Vec::new();
        for (seq, entry) in events {
            assert_eq!(wrong, [], "before {seq}");
            wrong = history.hear(Seq(*seq), *entry);
        }
        wrong
    }

    #[test]
    fn a_correct_log_has_no_violation() {
        let again = [(4, Queued), (5, Started { attempt: 2 }), (6, Preview { attempt: 2, step: 0 })];
        let first = [(1, Queued), (2, Started { attempt: 1 }), (3, Preview { attempt: 1, step: 0 })];
        let end = [(7, Preview { attempt: 2, step: 5 }), (8, Ended(Status::Completed))];
        assert_eq!(last(&[&first[..], &again, &end].concat()), []);
    }

    #[test]
    fn numbers_rise_without_gaps() {
        assert_eq!(last(&[(2, Queued)]), [Missing(1)]);
        assert_eq!(last(&[(1, Queued), (4, Started { attempt: 1 })]), [Missing(2)]);
        assert_eq!(last(&[(1, Queued), (1, Started { attempt: 1 })]), [OutOfOrder]);
    }

    #[test]
    fn nothing_follows_the_end() {
        let ended = [(1, Queued), (2, Ended(Status::Cancelled))];
        assert_eq!(last(&[&ended[..], &[(3, Ended(Status::Failed))]].concat()), [AfterTheEnd]);
        assert_eq!(last(&[&ended[..], &[(2, ended[1].1)]].concat()), [AfterTheEnd, OutOfOrder]);
    }

    #[test]
    fn a_worker_that_lost_the_job_sends_nothing() {
        let started = [(1, Queued), (2, Started { attempt: 1 })];
        let then = |events: &[(u64, Entry)]| last(&[&started[..], events].concat());
        let zombie = Preview { attempt: 1, step: 1 };
        assert_eq!(then(&[(3, Queued), (4, zombie)]), [Fenced]);
        assert_eq!(then(&[(3, Queued), (4, Started { attempt: 2 }), (5, zombie)]), [Fenced]);
        assert_eq!(then(&[(3, Queued), (4, Started { attempt: 1 })]), [AttemptAgain]);
        assert_eq!(then(&[(3, Preview { attempt: 2, step: 0 })]), [Fenced]);
        assert_eq!(then(&[(3, zombie), (4, zombie)]), [PreviewAgain]);
        assert_eq!(then(&[(3, zombie), (4, Preview { attempt: 1, step: 0 })]), [PreviewAgain]);
    }

    #[test]
    fn a_known_gap_may_hide_a_new_attempt_but_not_an_old_one() {
        let mut history = History::default();
        assert_eq!(history.hear(Seq(1), Queued), []);
        history.skip();
        assert_eq!(history.hear(Seq(6), Preview { attempt: 2, step: 3 }), []);
        history.skip();
        assert_eq!(history.hear(Seq(8), Preview { attempt: 1, step: 4 }), [Fenced]);
        assert_eq!(history.hear(Seq(10), Preview { attempt: 2, step: 4 }), [Missing(1)]);
    }
}
