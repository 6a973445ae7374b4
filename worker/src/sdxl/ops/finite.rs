//! Checks for infinity and NaN.

use candle_core::{Result, Tensor};

use super::forms::own_form;
use super::portable;

/// Whether all numbers are finite. Waits for the device.
///
/// # Errors
/// If the device fails.
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    FiniteWatch::default().see(tensor)?.is_finite()
}

/// Whether all numbers of several tensors are finite. The answer is kept on the device; only reading it waits.
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
        let own = portable::zero_if_finite(tensor)?;
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
