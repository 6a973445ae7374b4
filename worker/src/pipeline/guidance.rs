//! Classifier-free guidance.

use candle_core::{D, Tensor};

/// Classifier-free guidance (Ho and Salimans 2022).
#[derive(Debug, Clone, Copy)]
pub(super) struct Guidance {
    pub(super) scale: f64,
    pub(super) rescale: f64,
}

impl Guidance {
    /// Combines the UNet's predictions, [2 B, C, h, w] with the negative half first, to [B, C, h, w].
    pub(super) fn apply(self, predictions: &Tensor) -> candle_core::Result<Tensor> {
        let [negative, positive] = halves(predictions)?;
        let guided = (&negative + ((&positive - &negative)? * self.scale)?)?;
        if self.rescale == 0.0 {
            return Ok(guided);
        }
        // Against over-exposed pictures: rescale to the standard deviation of the positive prediction (Lin et al. 2023,
        // equations 15 and 16).
        let std = |x: &Tensor| x.flatten_from(1)?.var_keepdim(D::Minus1)?.sqrt()?.unsqueeze(2)?.unsqueeze(3);
        let rescaled = guided.broadcast_mul(&(std(&positive)? / std(&guided)?)?)?;
        (rescaled * self.rescale)? + (guided * (1.0 - self.rescale))?
    }
}

/// The negative and the positive half.
pub(super) fn halves(predictions: &Tensor) -> candle_core::Result<[Tensor; 2]> {
    let pictures = predictions.dim(0)? / 2;
    Ok([predictions.narrow(0, 0, pictures)?, predictions.narrow(0, pictures, pictures)?])
}
