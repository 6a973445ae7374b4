//! What is added to the product of a convolution or a linear layer, in one pass on a GPU.

use candle_core::{Result, Tensor};

use super::forms::own_form;
use super::portable;

/// The addends after a product, in this order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addends<'a> {
    /// A number for each channel: [C].
    pub bias: Option<&'a Tensor>,
    /// A number for each picture and channel, as the time embedding of diffusers' `ResnetBlock2D`: [B, C].
    pub shift: Option<&'a Tensor>,
    /// A tensor of the product's shape.
    pub residual: Option<&'a Tensor>,
}

impl<'a> From<Option<&'a Tensor>> for Addends<'a> {
    fn from(bias: Option<&'a Tensor>) -> Self {
        Self { bias, ..Self::default() }
    }
}

/// The axis of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// [B, C, ..], after a convolution.
    Second,
    /// [.., C], after a linear layer.
    Last,
}

/// `product` and all addends.
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn add(product: Tensor, addends: Addends<'_>, channels: Channels) -> Result<Tensor> {
    if let Addends { bias: None, shift: None, residual: None } = addends {
        return Ok(product);
    }
    if let Some(sum) = own_form!(Addends, product.device(), super::cuda::add(&product, addends, channels)) {
        return Ok(sum);
    }
    portable::add(product, addends, channels)
}
