//! The newest checkpoint of the current job, on its way from the pipeline's thread to the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use glimpse_shared::store::Checkpoint;
use tokio::sync::watch;

/// How often to make a checkpoint, and the slot for the newest one. Clones share the slot.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    every: Duration,
    newest: watch::Sender<Option<Checkpoint>>,
    /// Whether the log already says that the job's checkpoints are too large.
    said: Arc<AtomicBool>,
}

impl Checkpoints {
    /// At most one per interval, the first one an interval after the attempt began; none for 0.
    pub fn every(every: Duration) -> Self {
        Self { every, newest: watch::Sender::new(None), said: Arc::default() }
    }

    /// None at all.
    pub fn never() -> Self {
        Self::every(Duration::ZERO)
    }

    /// When the next one is due, counted from the attempt's begin or from the last one.
    pub fn next(&self, from: Instant) -> Option<Instant> {
        if self.every.is_zero() { None } else { from.checked_add(self.every) }
    }

    /// Stores a checkpoint in the slot; it replaces an older one that was not taken. One that is too large is dropped.
    pub fn put(&self, checkpoint: Vec<u8>) {
        let size = checkpoint.len();
        match Checkpoint::new(checkpoint) {
            Some(checkpoint) => drop(self.newest.send_replace(Some(checkpoint))),
            None if self.said.swap(true, Ordering::Relaxed) => {}
            None => tracing::warn!(
                size,
                limit = Checkpoint::MAX_BYTES,
                "the job's checkpoints are too large to be kept: if this worker is lost, the job starts over"
            ),
        }
    }

    /// A receiver of each checkpoint.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.newest.subscribe()
    }
}
