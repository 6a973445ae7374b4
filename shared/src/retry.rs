//! The policy of all retries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::jitter;

/// A policy that waits `first`, then twice as long each time, up to `longest`. Each wait has jitter, 50 to 100 %, so
/// that the processes of a fleet do not all retry at once. It never ends.
pub fn policy(first: Duration, longest: Duration) -> ExponentialBuilder {
    // The library adds between 0 and 100 %.
    ExponentialBuilder::new()
        .with_min_delay(first / 2)
        .with_max_delay(longest / 2)
        .with_jitter()
        .with_jitter_seed(jitter::bits())
        .without_max_times()
}

/// The waits of [`policy`], for a loop that does more than retry one call.
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
        // The policy has no last retry.
        self.waits.next().unwrap_or(self.longest)
    }

    /// After a success: the next wait is the first one again.
    pub fn reset(&mut self) {
        *self = Self::new(self.first, self.longest);
    }
}
