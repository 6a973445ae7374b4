//! `group_norm.cu` and `layer_norm.cu`.

use candle_core::{D, DType, Result, Tensor};

use super::super::arguments::Activation;
use super::super::kernels::{self, GroupNorm};
use super::launching::queue;
use super::tensors::{Operands, address, operands, unset};

/// See [`super::super::group_norm`]; with SiLU or without activation.
pub(crate) fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Option<Activation>,
) -> Result<Option<Tensor>> {
    let silu = match activation {
        None => false,
        Some(Activation::Silu) => true,
        Some(_) => return Ok(None),
    };
    let (batch, channels) = (x.dim(0)?, x.dim(1)?);
    if [weight.dims(), bias.dims()] != [&[channels]; 2] {
        return Ok(None);
    }
    let Some(Operands { device, dtype, tensors: [x, weight, bias] }) = operands([x, weight, bias])? else {
        return Ok(None);
    };
    let sizes = GroupNorm { batch, channels, groups, area: x.dims()[2..].iter().product() };
    let splits = sizes.splits();
    let parts = unset(&device, DType::F32, (batch * groups, splits, 3))?;
    let y = unset(&device, dtype, x.shape())?;
    let (from, moments) = (address(&x)?, address(&parts)?);
    let buffers = [from, address(&weight)?, address(&bias)?, moments, address(&y)?];
    let (Some(statistics), Some(apply)) =
        (sizes.statistics(splits, from, moments), sizes.apply(splits, buffers, eps, silu))
    else {
        return Ok(None);
    };
    queue(&device, dtype, &statistics)?;
    queue(&device, dtype, &apply)?;
    Ok(Some(y))
}

/// See [`super::super::layer_norm`].
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Option<Tensor>> {
    let width = x.dim(D::Minus1)?;
    if [weight.dims(), bias.dims()] != [&[width]; 2] {
        return Ok(None);
    }
    let Some(Operands { device, dtype, tensors: [x, weight, bias] }) = operands([x, weight, bias])? else {
        return Ok(None);
    };
    let y = unset(&device, dtype, x.shape())?;
    let buffers = [address(&x)?, address(&weight)?, address(&bias)?, address(&y)?];
    let Some(launch) = kernels::layer_norm(buffers, x.elem_count() / width, width, eps) else {
        return Ok(None);
    };
    queue(&device, dtype, &launch)?;
    Ok(Some(y))
}
