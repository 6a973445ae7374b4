//! The time of Redis' answers.

use std::time::Duration;

use prometheus_client::{metrics::histogram::Histogram, registry::Registry};

/// The bounds in seconds: from an answer of the same machine to the timeout of a command.
const BOUNDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How long commands to Redis took, with or without an answer. Clones share their values.
#[derive(Debug, Clone)]
pub struct RedisSeconds(Histogram);

impl Default for RedisSeconds {
    fn default() -> Self {
        Self(Histogram::new(BOUNDS))
    }
}

impl RedisSeconds {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "glimpse_redis_seconds",
            "Time from a command to Redis until its answer or its failure",
            self.0.clone(),
        );
    }

    /// A command took this long.
    pub fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}
