//! How long to wait before trying again.

use std::time::Duration;

use crate::jitter;

/// Doubling, bounded, and jittered, so that a fleet does not come back in one moment.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The next wait: between half and all of what is due.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(0.5 + 0.5 * jitter::fraction());
        self.next = (self.next * 2).min(self.most);
        wait
    }

    /// It worked: begin anew.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}
