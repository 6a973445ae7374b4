//! What is added to the product of a convolution or a linear layer, in one pass on a GPU.

use candle_core::{Result, Tensor};

use super::arguments::{Addends, Channels};
use super::forms::own_form;
use super::portable;

/// `product` and all addends.
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn add(product: Tensor, addends: Addends<'_>, channels: Channels) -> Result<Tensor> {
    sum(product, addends, channels, false)
}

/// As [`add`], for a product that was just computed, which no other tensor shares its memory with: a GPU writes the sum
/// there.
///
/// # Errors
/// If the shapes do not match or the device fails.
pub(super) fn add_to_fresh(product: Tensor, addends: Addends<'_>, channels: Channels) -> Result<Tensor> {
    sum(product, addends, channels, true)
}

#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
fn sum(product: Tensor, addends: Addends<'_>, channels: Channels, in_place: bool) -> Result<Tensor> {
    if let Addends { bias: None, shift: None, residual: None } = addends {
        return Ok(product);
    }
    let own = own_form!(Addends, product.device(), super::cuda::add(&product, addends, channels, in_place));
    match own {
        Some(sum) => Ok(sum),
        None => portable::add(product, addends, channels),
    }
}
