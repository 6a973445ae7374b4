//! Limits for calling webhooks.

use std::time::Duration;

/// Limits for calling webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookLimits {
    /// Timeout for one connection.
    pub connect: Duration,
    /// Timeout for a call, from the lookup of the name to the status of the answer.
    pub timeout: Duration,
    /// Calls at once.
    pub at_once: u32,
    /// The pause before the store is asked again for calls that are due.
    pub pause: Duration,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            timeout: Duration::from_secs(6),
            at_once: 64,
            pause: Duration::from_secs(1),
        }
    }
}
