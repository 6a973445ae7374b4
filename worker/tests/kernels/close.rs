//! Random numbers, and how far two tensors are from each other.

use candle_core::{DType, Device, Tensor};
use glimpse_worker::noise::{Generator, GeneratorKind};

use super::launch::Finding;

/// Normal numbers, the same in every run.
pub(crate) struct Numbers(Generator);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(Generator::new(GeneratorKind::Cpu, 13))
    }

    pub(crate) fn draw(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        self.around(0.0, dtype, shape)
    }

    /// With another mean than 0.
    pub(crate) fn around(&mut self, mean: f32, dtype: DType, shape: &[usize]) -> Tensor {
        let values = self.0.normal(shape.iter().product()).into_iter().map(|v| v + mean);
        let tensor = Tensor::from_iter(values, &Device::Cpu).and_then(|t| t.reshape(shape)?.to_dtype(dtype));
        tensor.expect("a tensor")
    }
}

/// Norms, exponentials and error functions of f32, computed in another order and by other formulas.
pub(crate) const SINGLE: f64 = 4e-6;

/// The limit for results of a type: at most one unit in the last place, where f32 results lie on two sides of a tie.
pub(crate) fn limit(dtype: DType, single: f64) -> f64 {
    let unit = match dtype {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => 0.0,
    };
    unit + single
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("numbers")
}

/// Every number must be within `limit` of the expected one, relative to its size or, if that is larger, to the root mean
/// square of all of them. Not an average: one wrong number among a million is found.
pub(crate) fn close(what: &str, actual: &Tensor, expected: &Tensor, limit: f64) -> Finding {
    assert_eq!((actual.dims(), actual.dtype()), (expected.dims(), expected.dtype()), "{what}");
    let (actual, expected) = (values(actual), values(expected));
    let typical = (expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64).sqrt();
    for (at, (a, e)) in actual.iter().zip(&expected).enumerate() {
        // False for a NaN.
        let near = (a - e).abs() <= limit * e.abs().max(typical);
        if !near {
            return Err(format!("{what}: number {at} differs: {a:e}, expected {e:e}, limit {limit:.1e}"));
        }
    }
    Ok(())
}
