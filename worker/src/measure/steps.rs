//! Steps of the UNet with guidance, the sampler included.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::bench::Bench;
use super::error::MeasureError;
use super::times::{Times, milliseconds, round};
use crate::pipeline::{Inputs, Pipeline};

/// Steps that are not counted: they load kernels and choose algorithms.
const FIRST: usize = 3;

/// One step, with the device idle before it and after it; and steps one after the other, as in a job.
pub(super) fn unet(bench: &Bench) -> Result<Value, MeasureError> {
    let steps = bench.runs(20);
    let mut denoising = bench.pipeline.begin(&inputs(bench, FIRST + 2 * steps, 1))?;
    let mut step = || bench.pipeline.step(&mut [&mut denoising]);
    for _ in 0..FIRST {
        step()?;
    }
    let (mut times, mut windows) = (Vec::new(), Vec::new());
    for _ in 0..steps {
        bench.device.synchronize()?;
        let begin = now();
        times.push(milliseconds(&bench.device, &mut step)?);
        windows.push([begin, now()]);
    }
    let queued = milliseconds(&bench.device, || (0..steps).try_for_each(|_| step()))?;
    Ok(bench.report(json!({
        "guidance_scale": bench.inputs().guidance_scale,
        "step_ms": Times::from(times),
        "queued_step_ms": round(queued / steps as f64),
        "step_windows_ns": windows,
    })))
}

/// Several pictures at once. A batch that does not fit says so.
pub(super) fn batch(bench: &Bench) -> Result<Value, MeasureError> {
    let mut results = Map::new();
    for pictures in [1, 2, 4] {
        let timed = || -> Result<Times, MeasureError> {
            let steps = 2 * FIRST + 10;
            let mut denoising = bench.pipeline.begin(&inputs(bench, steps, pictures))?;
            bench.time(10, || bench.pipeline.step(&mut [&mut denoising]))
        };
        let result = match timed() {
            Ok(times) => {
                json!({ "step_ms": times, "step_ms_per_picture": round(times.median / pictures as f64) })
            }
            Err(error) => json!({ "failed": error.to_string() }),
        };
        results.insert(format!("pictures_{pictures}"), result);
    }
    Ok(bench.report(Value::Object(results)))
}

fn inputs(bench: &Bench, steps: usize, pictures: usize) -> Inputs {
    Inputs { num_inference_steps: steps, num_images_per_prompt: pictures, ..bench.inputs() }
}

/// Nanoseconds of the system's clock, which the profiler uses too.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
