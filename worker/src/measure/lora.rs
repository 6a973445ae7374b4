//! The change of a set of LoRAs between two jobs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::bench::Bench;
use super::error::MeasureError;
use super::times::{Times, milliseconds, round};
use crate::noise::{Generator, GeneratorKind};
use crate::pipeline::{Inputs, LoraChoice, Pipeline};

/// The rank of the measured LoRA.
const RANK: usize = 16;

/// Times the begin of a job whose LoRAs are those of the job before, and of one whose LoRAs are others; then a step.
pub(super) fn change(bench: &Bench) -> Result<Value, MeasureError> {
    let path = RandomLora::write(bench)?;
    let with = |scale: f64| Inputs { loras: vec![LoraChoice::file(&path.0, scale)], ..bench.inputs() };
    let begin = |inputs: &Inputs| milliseconds(&bench.device, || bench.pipeline.begin(inputs));
    let read = begin(&with(0.5))?;
    let runs = bench.runs(5);
    let [mut same, mut changed, mut removed] = [(); 3].map(|()| Vec::new());
    for run in 0..runs {
        let inputs = with(0.6 + run as f64 / 100.0);
        changed.push(begin(&inputs)?);
        same.push(begin(&inputs)?);
        removed.push(begin(&bench.inputs())?);
    }
    let [same, changed, removed] = [same, changed, removed].map(Times::from);
    let mut denoising = bench.pipeline.begin(&with(0.5))?;
    let step = bench.time(10, || bench.pipeline.step(&mut [&mut denoising]))?;
    let change = changed.median - same.median;
    Ok(bench.report(json!({
        "rank": RANK,
        "modules": path.1,
        "read_and_begin_ms": round(read),
        "begin_with_change_ms": changed,
        "begin_without_change_ms": same,
        "begin_with_removal_ms": removed,
        "change_ms": round(change),
        "change_in_steps": round(change / step.median),
        "step_ms": step,
    })))
}

/// A LoRA file for all attention layers of the UNet, in a temporary folder. It is deleted when this is dropped.
struct RandomLora(PathBuf, usize);

impl RandomLora {
    fn write(bench: &Bench) -> Result<Self, MeasureError> {
        let begun = Instant::now();
        let modules = bench.pipeline.unet_modules();
        let attention =
            modules.into_iter().filter(|(name, shape)| name.contains(".attn") && shape.len() == 2);
        let mut tensors = HashMap::new();
        let mut generator = Generator::new(GeneratorKind::Cpu, 0);
        for (name, shape) in attention {
            let mut put = |part: &str, rows: usize, columns: usize| -> Result<(), MeasureError> {
                let numbers =
                    Tensor::from_vec(generator.normal(rows * columns), (rows, columns), &Device::Cpu)?;
                tensors.insert(format!("unet.{name}.{part}.weight"), (numbers * 1e-3)?);
                Ok(())
            };
            put("lora_A", RANK, shape[1])?;
            put("lora_B", shape[0], RANK)?;
        }
        let modules = tensors.len() / 2;
        let path = std::env::temp_dir().join(format!("glimpse-measure-{}.safetensors", std::process::id()));
        let lora = Self(path, modules);
        candle_core::safetensors::save(&tensors, &lora.0)?;
        tracing::info!("wrote a LoRA for {modules} modules in {:.1} s", begun.elapsed().as_secs_f64());
        Ok(lora)
    }
}

impl Drop for RandomLora {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file::<&Path>(&self.0) {
            tracing::warn!("{} was not deleted: {error}", self.0.display());
        }
    }
}
