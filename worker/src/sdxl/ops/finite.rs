//! Checks for infinity and NaN.

use candle_core::{DType, Result, Tensor};

use super::forms::own_form;

/// Whether all numbers are finite. Waits for the device.
///
/// # Errors
/// If the device fails.
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    FiniteWatch::default().see(tensor)?.is_finite()
}

/// Whether all numbers of several tensors are finite. The device gathers the answer; only reading it waits.
#[derive(Debug, Clone, Default)]
pub struct FiniteWatch {
    /// One f32: 0, or NaN after a number that is not finite.
    sum: Option<Tensor>,
    /// One u32 that a kernel sets to 1.
    flag: Option<Tensor>,
}

impl FiniteWatch {
    /// Checks one more tensor, of any dtype.
    ///
    /// # Errors
    /// If the device fails.
    pub fn see(&mut self, tensor: &Tensor) -> Result<&mut Self> {
        if let Some(()) = own_form!(Finite, tensor.device(), super::cuda::finite(tensor, &mut self.flag)) {
            return Ok(self);
        }
        // Infinity times 0 is NaN, a sum with NaN is NaN, and a sum of zeros cannot overflow.
        let own = tensor.affine(0.0, 0.0)?.sum_all()?.to_dtype(DType::F32)?;
        self.sum = Some(match self.sum.take() {
            Some(sum) => (sum + own)?,
            None => own,
        });
        Ok(self)
    }

    /// Whether all tensors so far were finite. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn is_finite(&self) -> Result<bool> {
        let sum = self.sum.as_ref().map_or(Ok(0.0), Tensor::to_scalar::<f32>)?;
        let flag = self.flag.as_ref().map_or(Ok(0), |flag| flag.reshape(())?.to_scalar::<u32>())?;
        Ok(sum == 0.0 && flag == 0)
    }
}
