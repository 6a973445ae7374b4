//! The peak of memory in each phase of a job.

use serde_json::{Map, Value, json};

use super::bench::{self, BenchArgs};
use super::error::MeasureError;
use super::meter::Meter;
use crate::pipeline::{Pipeline, PreviewKind};

/// Loads the model and makes a picture; the peak of each phase, in bytes.
pub(super) fn peaks(args: &BenchArgs) -> Result<Value, MeasureError> {
    let device = args.device.open()?;
    let meter = Meter::of(&device)?;
    let mut phases = Map::new();
    let mut peak = |phase: &str| -> Result<(), MeasureError> {
        device.synchronize()?;
        phases.insert(format!("{phase}_bytes"), json!(meter.peak()?));
        meter.reset()
    };
    meter.reset()?;
    let pipeline = args.load(&device)?;
    peak("load")?;
    let mut denoising = pipeline.begin(&bench::inputs(&pipeline))?;
    peak("text")?;
    pipeline.step(&mut [&mut denoising])?;
    peak("step")?;
    pipeline.preview(&denoising, PreviewKind::Denoised)?;
    peak("preview")?;
    pipeline.finish(denoising)?;
    peak("decode")?;
    Ok(json!({ "measured": meter.what(), "peak": phases, "in_use_at_the_end": meter.in_use()? }))
}
