//! The work of a worker.

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::Counter},
    registry::Registry,
};

use super::stage::StageSeconds;

/// The work on jobs. Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// The time of each stage.
    pub stages: StageSeconds,
    steps: Counter,
    leases_lost: Counter,
}

impl Work {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("glimpse_steps", "Steps of samplers that were taken", self.steps.clone());
        registry.register(
            "glimpse_leases_lost",
            "Jobs that this worker held and lost before their end",
            self.leases_lost.clone(),
        );
        self.stages.register(registry);
        registry.register(
            "glimpse_preview_overhead_ratio",
            "Time of all previews divided by the time of all steps, since the start of the process",
            Overhead(self.stages.clone()),
        );
    }

    /// A step was taken.
    pub fn step(&self) {
        self.steps.inc();
    }

    /// A job is another worker's, or was ended by somebody else than its client.
    pub fn lease_lost(&self) {
        self.leases_lost.inc();
    }
}

/// Computed whenever it is read.
#[derive(Debug)]
struct Overhead(StageSeconds);

impl EncodeMetric for Overhead {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&self.0.preview_overhead())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}
