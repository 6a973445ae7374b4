//! The newest checkpoint of the job at hand, on its way from the pipeline's thread to the store.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How often there is to be one, and where it goes. Clones share the place.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    every: Duration,
    newest: watch::Sender<Option<Vec<u8>>>,
}

impl Checkpoints {
    /// One every so often at most, the first that long after the attempt began; none for 0.
    pub fn every(every: Duration) -> Self {
        Self { every, newest: watch::Sender::new(None) }
    }

    /// None at all.
    pub fn never() -> Self {
        Self::every(Duration::ZERO)
    }

    /// When the next one is due, counted from the attempt's begin or from the last one.
    pub(crate) fn next(&self, from: Instant) -> Option<Instant> {
        if self.every.is_zero() { None } else { from.checked_add(self.every) }
    }

    /// Leaves one; it replaces an older one that was not fetched.
    pub(crate) fn put(&self, checkpoint: Vec<u8>) {
        self.newest.send_replace(Some(checkpoint));
    }

    /// Hears of each.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Vec<u8>>> {
        self.newest.subscribe()
    }
}
