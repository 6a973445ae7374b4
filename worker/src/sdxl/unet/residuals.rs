//! What ControlNets add to the tensors of a UNet.

use candle_core::{Result, Tensor, bail};

/// The outputs of one ControlNet, or the sum of several.
#[derive(Debug, Clone)]
pub struct Residuals {
    /// One for each skip tensor of the UNet, in their order and of their shapes.
    pub skips: Vec<Tensor>,
    /// Added to the output of the middle block.
    pub mid: Tensor,
}

impl Residuals {
    /// The sum of both.
    ///
    /// # Errors
    /// If they are for UNets of other shapes, or the device fails.
    pub fn plus(self, other: &Self) -> Result<Self> {
        Ok(Self { skips: sums(self.skips, &other.skips)?, mid: (self.mid + &other.mid)? })
    }

    /// The skip tensors plus those of the residuals.
    pub(super) fn onto(&self, skips: Vec<Tensor>) -> Result<Vec<Tensor>> {
        sums(skips, &self.skips)
    }

    /// All tensors, for [`Residuals::of`].
    #[cfg(feature = "cuda")]
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.skips.iter().chain([&self.mid])
    }

    /// The residuals of [`Residuals::tensors`]; `None` if there are no tensors.
    #[cfg(feature = "cuda")]
    pub(super) fn of(tensors: &[&Tensor]) -> Option<Self> {
        let (mid, skips) = tensors.split_last()?;
        Some(Self { skips: skips.iter().map(|skip| (*skip).clone()).collect(), mid: (*mid).clone() })
    }
}

fn sums(tensors: Vec<Tensor>, others: &[Tensor]) -> Result<Vec<Tensor>> {
    if tensors.len() != others.len() {
        bail!("{} skip tensors and {} residuals of a ControlNet", tensors.len(), others.len());
    }
    tensors.into_iter().zip(others).map(|(tensor, other)| tensor + other).collect()
}
