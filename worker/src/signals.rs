//! What a worker is told about a job that it holds, on its way to the pipeline's thread.

use glimpse_shared::store::Hold;
use tokio::sync::watch;

/// Why a job stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The job was cancelled.
    Cancelled,
    /// The lease is lost: another worker may have the job.
    Lost,
    /// The worker drains, and the grace period is over.
    Drain,
}

/// The senders of one job's signals. Clones share them.
#[derive(Debug, Clone)]
pub struct Signals {
    stop: watch::Sender<Option<Stop>>,
    finish_early: watch::Sender<Option<u32>>,
}

impl Signals {
    /// Of a job that should finish after the first step from this one on, counted from 0, if it should finish early.
    pub fn new(finish_early: Option<u32>) -> Self {
        Self { stop: watch::Sender::new(None), finish_early: watch::Sender::new(finish_early) }
    }

    /// A receiver of the reason to stop.
    pub fn stopped(&self) -> watch::Receiver<Option<Stop>> {
        self.stop.subscribe()
    }

    /// A receiver of the step from which on the job should finish early.
    pub fn finishes_early(&self) -> watch::Receiver<Option<u32>> {
        self.finish_early.subscribe()
    }

    /// Whether the job should stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Stops the work on the job. The first reason is kept.
    pub fn halt(&self, reason: Stop) {
        self.stop.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(reason);
            first
        });
    }

    /// Finishes the job early, after the first step from this one on. The earliest step is kept.
    pub fn finish_early(&self, at: u32) {
        self.finish_early.send_if_modified(|current| {
            let sooner = current.is_none_or(|known| at < known);
            if sooner {
                *current = Some(at);
            }
            sooner
        });
    }

    /// Passes on what the store answers to a write of the job's worker.
    pub fn answered(&self, hold: Hold) {
        match hold {
            Hold::Held => {}
            Hold::FinishEarly(at) => self.finish_early(at),
            Hold::Cancelled => self.halt(Stop::Cancelled),
            Hold::Lost => self.halt(Stop::Lost),
        }
    }
}
