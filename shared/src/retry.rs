//! How long to wait before something is tried again: the one policy of everything that retries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::jitter;

/// A policy that waits `first`, then twice as long each time, up to `longest`; between half and all of it, so that a
/// fleet does not come back in one moment. It never ends by itself.
pub fn policy(first: Duration, longest: Duration) -> ExponentialBuilder {
    // The library adds between nothing and as much again.
    ExponentialBuilder::new()
        .with_min_delay(first / 2)
        .with_max_delay(longest / 2)
        .with_jitter()
        .with_jitter_seed(jitter::bits())
        .without_max_times()
}

/// The waits of [`policy`], for a loop that does more than to retry one call.
#[derive(Debug)]
pub struct Waits {
    first: Duration,
    longest: Duration,
    waits: ExponentialBackoff,
}

impl Waits {
    /// See [`policy`].
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, waits: policy(first, longest).build() }
    }

    /// The next wait.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> Duration {
        // The policy never ends.
        self.waits.next().unwrap_or(self.longest)
    }

    /// It worked: the next wait is the first again.
    pub fn reset(&mut self) {
        *self = Self::new(self.first, self.longest);
    }
}
