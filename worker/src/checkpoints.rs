//! Passes the newest checkpoint of the current job from the pipeline's thread to the store.

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
    /// Whether the log already says that the job's checkpoints are too large: it says so once.
    logged: Arc<AtomicBool>,
}

impl Checkpoints {
    /// At most one checkpoint per interval. The first is due one interval after the attempt began. 0: none.
    pub fn every(every: Duration) -> Self {
        Self { every, newest: watch::Sender::new(None), logged: Arc::default() }
    }

    /// No checkpoints.
    pub fn never() -> Self {
        Self::every(Duration::ZERO)
    }

    /// When the next checkpoint is due. `from` is the start of the attempt or the last checkpoint.
    pub fn next(&self, from: Instant) -> Option<Instant> {
        if self.every.is_zero() { None } else { from.checked_add(self.every) }
    }

    /// Puts a checkpoint into the slot and replaces one that was not taken. A checkpoint that is too large is dropped.
    pub fn put(&self, checkpoint: Vec<u8>) {
        let size = checkpoint.len();
        match Checkpoint::new(checkpoint) {
            Some(checkpoint) => drop(self.newest.send_replace(Some(checkpoint))),
            None if self.logged.swap(true, Ordering::Relaxed) => {}
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
