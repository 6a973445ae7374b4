//! `geglu.cu` and `bias_residual.cu`.

use candle_core::{D, Result, Tensor};

use super::super::arguments::{Addends, Channels};
use super::super::kernels;
use super::launching::queue;
use super::tensors::{Operands, address, operands, unset};

/// See [`super::super::geglu`].
pub(crate) fn geglu(x: &Tensor) -> Result<Option<Tensor>> {
    let width = x.dim(D::Minus1)?;
    if !width.is_multiple_of(2) {
        return Ok(None);
    }
    let Some(Operands { device, dtype, tensors: [x] }) = operands([x])? else { return Ok(None) };
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = width / 2;
    }
    let y = unset(&device, dtype, shape)?;
    let launch = kernels::geglu(address(&x)?, address(&y)?, x.elem_count() / width, width / 2);
    queue(&device, dtype, &launch)?;
    Ok(Some(y))
}

/// See [`super::super::add`]. With `in_place` no other tensor may share the product's memory.
///
/// `None` without a bias and without a shift: candle adds a residual alone in one launch too. Also `None` for a shift
/// if the channels are the last axis.
pub(crate) fn add(
    product: &Tensor,
    Addends { bias, shift, residual }: Addends<'_>,
    channels: Channels,
    in_place: bool,
) -> Result<Option<Tensor>> {
    let dims = product.dims();
    if dims.len() < 2 {
        return Ok(None);
    }
    let axis = if channels == Channels::Second { 1 } else { dims.len() - 1 };
    let (outer, width, inner) =
        (dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product());
    if residual.is_some_and(|residual| residual.dims() != dims)
        || bias.is_some_and(|bias| bias.dims() != [width])
        || shift.is_some_and(|shift| channels == Channels::Last || shift.dims() != [outer, width])
    {
        return Ok(None);
    }
    match (bias, shift) {
        (Some(bias), None) => sum(product, bias, residual, [outer, width, inner], in_place),
        (None, Some(shift)) => sum(product, shift, residual, [1, outer * width, inner], in_place),
        (Some(bias), Some(shift)) => {
            let Some(both) = sum(shift, bias, None, [outer, width, 1], false)? else { return Ok(None) };
            sum(product, &both, residual, [1, outer * width, inner], in_place)
        }
        (None, None) => Ok(None),
    }
}

/// `x` and `residual` [outer, channels, inner] and `bias` of `channels` numbers.
fn sum(
    x: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
    sizes: [usize; 3],
    in_place: bool,
) -> Result<Option<Tensor>> {
    // Without a residual x stands in for it.
    let given = operands([x, bias, residual.unwrap_or(x)])?;
    let Some(Operands { device, dtype, tensors: [x, bias, beside] }) = given else { return Ok(None) };
    let y = if in_place { x.clone() } else { unset(&device, dtype, x.shape())? };
    let beside = residual.is_some().then(|| address(&beside)).transpose()?;
    let launch = kernels::bias_residual([address(&x)?, address(&bias)?, address(&y)?], beside, sizes);
    queue(&device, dtype, &launch)?;
    Ok(Some(y))
}
