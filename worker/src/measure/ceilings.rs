//! The rates that a device reaches when it only copies memory or multiplies matrices: upper limits for a step.

use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

use super::error::MeasureError;
use super::times::{Times, round};

/// Runs of each, of which the median counts.
const RUNS: usize = 10;

/// Copies of memory in GB/s, products of matrices in TFLOP/s.
pub(super) fn measure(device: &Device, small: bool) -> Result<Value, MeasureError> {
    let mut ceilings = Map::new();
    let numbers: usize = if small { 1 << 20 } else { 1 << 28 };
    let tensor = Tensor::randn(0f32, 1f32, numbers, device)?;
    let times = time(device, || tensor.copy())?;
    // Each byte is read and written.
    ceilings.insert("copy_gb_per_s".into(), json!(round(rate(2 * 4 * numbers, &times) / 1e9)));
    drop(tensor);

    let host = vec![0.5f32; numbers / 4];
    let times = time(device, || Tensor::from_slice(&host, host.len(), device))?;
    ceilings.insert("upload_gb_per_s".into(), json!(round(rate(numbers, &times) / 1e9)));

    let side: usize = if small { 256 } else { 8192 };
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let matrix = Tensor::randn(0f32, 1f32, (side, side), device)?.to_dtype(dtype)?;
        let times = time(device, || matrix.matmul(&matrix))?;
        let name = format!("matmul_{}_tflop_per_s", dtype.as_str());
        ceilings.insert(name, json!(round(rate(2 * side.pow(3), &times) / 1e12)));
    }
    ceilings.insert("matmul_side".into(), json!(side));
    Ok(Value::Object(ceilings))
}

fn time<T>(device: &Device, work: impl FnMut() -> candle_core::Result<T>) -> Result<Times, MeasureError> {
    Times::of(device, 2, RUNS, Duration::from_secs(5), work)
}

/// `amount` per second.
fn rate(amount: usize, times: &Times) -> f64 {
    amount as f64 / (times.median / 1e3)
}
