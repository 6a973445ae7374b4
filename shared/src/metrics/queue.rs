//! The queues, read from the store for each text: their gauges are never older than the text.

use std::fmt::Error;
use std::time::Duration;

use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, metrics::MetricType, registry::Registry,
};

use crate::id::App;

/// The queue of an app at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueLength {
    /// The app.
    pub app: App,
    /// How many jobs wait.
    pub jobs: u64,
    /// How long ago the oldest waiting job was submitted; `None` if none waits.
    pub oldest: Option<Duration>,
    /// Seconds until a job that is submitted now is claimed; `None` if it is not known.
    pub expected_wait: Option<f64>,
}

pub(super) fn register(registry: &mut Registry, queues: Vec<QueueLength>) {
    registry.register_collector(Box::new(Queues(queues)));
}

#[derive(Debug)]
struct Queues(Vec<QueueLength>);

/// A family: its name, its help text, and its value for a queue.
type Family = (&'static str, &'static str, fn(&QueueLength) -> f64);

const FAMILIES: [Family; 3] = [
    ("glimpse_queue_depth", "Jobs that wait", |queue| queue.jobs as f64),
    (
        "glimpse_queue_oldest_wait_seconds",
        "Time since the submit of the oldest waiting job; 0 if none waits",
        |queue| oldest(queue),
    ),
    (
        "glimpse_expected_wait_seconds",
        "Time until a job that is submitted now is claimed; without a recent job, how long the oldest one has waited",
        |queue| queue.expected_wait.unwrap_or_else(|| oldest(queue)),
    ),
];

fn oldest(queue: &QueueLength) -> f64 {
    queue.oldest.unwrap_or_default().as_secs_f64()
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        for (name, help, value) in FAMILIES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for queue in &self.0 {
                family.encode_family(&[("app", queue.app.as_str())])?.encode_gauge(&value(queue))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Metrics, Role};
    use super::*;

    #[test]
    fn a_wait_that_is_not_known_is_at_least_that_of_the_oldest_job() {
        let app: App = "glimpse/demo".parse().unwrap();
        let waited = |jobs, oldest: Option<u64>, expected_wait| {
            let oldest = oldest.map(Duration::from_secs);
            let queue = QueueLength { app: app.clone(), jobs, oldest, expected_wait };
            let text = Metrics::new(Role::Api).text(vec![queue]).unwrap();
            let value = |name: &str| {
                let start = format!("{name}{{app=\"glimpse/demo\"}} ");
                let line = text.lines().find_map(|line| line.strip_prefix(&start));
                line.unwrap().parse::<f64>().unwrap()
            };
            FAMILIES.map(|(name, ..)| value(name))
        };
        assert_eq!(waited(0, None, None), [0.0, 0.0, 0.0]);
        assert_eq!(waited(2, Some(7), None), [2.0, 7.0, 7.0]);
        assert_eq!(waited(2, Some(7), Some(2.5)), [2.0, 7.0, 2.5]);
    }
}
