//! Checks for infinity and NaN.

use candle_core::{DType, Tensor};

/// Whether all numbers are finite.
///
/// # Errors
/// If the device fails.
pub fn is_finite(tensor: &Tensor) -> candle_core::Result<bool> {
    // Infinity times 0 is NaN, a sum with NaN is NaN, and a sum of zeros cannot overflow.
    let sum = tensor.affine(0.0, 0.0)?.sum_all()?;
    Ok(sum.to_dtype(DType::F32)?.to_scalar::<f32>()? == 0.0)
}
