//! The time of the stages of a job.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder},
    metrics::{MetricType, histogram::Histogram},
    registry::Registry,
};

/// A part of the work on a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The prompts through the text encoders, once per attempt.
    Text,
    /// One step of the sampler.
    Denoise,
    /// One preview: the small decoder, and its pixels.
    Preview,
    /// The final pictures of a job through the autoencoder, and their pixels.
    Decode,
    /// One picture as JPEG, PNG or WebP, a preview or a final one.
    Encode,
    /// One preview or one end of a job, until the store has it; with `--results` also the files.
    Publish,
}

impl Stage {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] =
        [Self::Text, Self::Denoise, Self::Preview, Self::Decode, Self::Encode, Self::Publish];

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Denoise => "denoise",
            Self::Preview => "preview",
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Publish => "publish",
        }
    }

    /// Its place in [`Stage::ALL`].
    fn index(self) -> usize {
        self as usize
    }
}

/// The bounds in seconds: from a small picture's encoding to the decoding of many large pictures.
const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// A histogram for each stage. Clones share their values.
#[derive(Debug, Clone)]
pub struct StageSeconds {
    histograms: [Histogram; Stage::ALL.len()],
    /// The sum of each histogram in nanoseconds: it cannot be read from the histogram.
    sums: Arc<[AtomicU64; Stage::ALL.len()]>,
}

impl Default for StageSeconds {
    fn default() -> Self {
        Self { histograms: array::from_fn(|_| Histogram::new(BOUNDS)), sums: Arc::default() }
    }
}

impl StageSeconds {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("glimpse_stage_seconds", "Time of a stage of a job", self.clone());
    }

    /// A stage took this long.
    pub fn observe(&self, stage: Stage, took: Duration) {
        self.histograms[stage.index()].observe(took.as_secs_f64());
        self.sums[stage.index()].fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// A stage began at this time and ends now.
    pub fn since(&self, stage: Stage, begun: Instant) {
        self.observe(stage, begun.elapsed());
    }

    /// The time of all previews, as a part of the time of all steps; 0 before the first step.
    pub(super) fn preview_overhead(&self) -> f64 {
        let sum = |stage: Stage| self.sums[stage.index()].load(Ordering::Relaxed) as f64;
        let steps = sum(Stage::Denoise);
        if steps > 0.0 { sum(Stage::Preview) / steps } else { 0.0 }
    }
}

struct Label(Stage);

impl EncodeLabelSet for Label {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> Result<(), std::fmt::Error> {
        [("stage", self.0.as_str())].encode(encoder)
    }
}

impl EncodeMetric for StageSeconds {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        for stage in Stage::ALL {
            self.histograms[stage.index()].encode(encoder.encode_family(&Label(stage))?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_place() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage.index(), index);
        }
    }

    #[test]
    fn the_overhead_of_previews_is_their_part_of_the_steps() {
        let stages = StageSeconds::default();
        stages.observe(Stage::Preview, Duration::from_secs(1));
        assert_eq!(stages.preview_overhead(), 0.0);
        for _ in 0..4 {
            stages.observe(Stage::Denoise, Duration::from_secs(5));
        }
        assert_eq!(stages.preview_overhead(), 0.05);
    }
}
