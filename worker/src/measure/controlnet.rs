//! What a ControlNet costs.

use std::fs::File;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::bench::Bench;
use super::error::MeasureError;
use super::times::{Times, milliseconds, round};
use crate::pipeline::{ControlChoice, Inputs, Pipeline, Rgb};

/// The seed of its weights.
const SEED: u64 = 17;

/// Steps with one ControlNet and without, in turns: a first step of each is not counted.
pub(super) fn cost(bench: &Bench) -> Result<Value, MeasureError> {
    let name = Name::new()?;
    let loaded = milliseconds(&bench.device, || bench.pipeline.random_controlnet(&name.0, SEED))?;
    let Inputs { width, height, .. } = bench.inputs();
    let image = Rgb { width, height, data: vec![128; 3 * width as usize * height as usize] };
    let runs = bench.runs(10);
    let inputs = |controlnets| Inputs { num_inference_steps: runs + 1, controlnets, ..bench.inputs() };
    let mut plain = bench.pipeline.begin(&inputs(Vec::new()))?;
    let mut controlled = bench.pipeline.begin(&inputs(vec![ControlChoice::of(&name.0, image)]))?;
    let mut times = [Vec::new(), Vec::new()];
    for run in 0..=runs {
        for (job, times) in [&mut plain, &mut controlled].into_iter().zip(&mut times) {
            let time = milliseconds(&bench.device, || bench.pipeline.step(&mut [job]))?;
            if run > 0 {
                times.push(time);
            }
        }
    }
    let [plain, controlled] = times.map(Times::from);
    Ok(bench.report(json!({
        "load_random_weights_ms": round(loaded),
        "step_ms": plain,
        "step_with_controlnet_ms": controlled,
        "controlnet_in_steps": round(controlled.median / plain.median - 1.0),
    })))
}

/// An empty file that stands for the ControlNet's. It is deleted when this is dropped.
struct Name(PathBuf);

impl Name {
    fn new() -> Result<Self, MeasureError> {
        let path = std::env::temp_dir().join(format!("glimpse-controlnet-{}", std::process::id()));
        File::create(&path).map_err(|error| MeasureError::Failed(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!("{} was not deleted: {error}", self.0.display());
        }
    }
}
