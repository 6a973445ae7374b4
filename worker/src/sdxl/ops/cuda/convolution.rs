//! Convolutions by cuDNN, with sums in f32 for every type.

use candle_core::{Result, Tensor};

use super::super::arguments::Padding;

/// See [`super::super::conv2d`], without addends.
///
/// NCHW, as the tensors are: cuDNN reorders f16 itself where its tensor cores want NHWC.
#[cfg(feature = "cudnn")]
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, padding: Padding, stride: usize) -> Result<Option<Tensor>> {
    use super::cudnn::{Sizes, convolve};
    use super::tensors::{Operands, address, operands, unset};

    let given = operands([x, weight])?;
    let Some(Operands { device, dtype, tensors: [x, weight] }) = given else { return Ok(None) };
    let (x, around) = if padding.before == padding.after {
        (x, padding.before)
    } else {
        let x = x.pad_with_zeros(2, padding.before, padding.after)?;
        (x.pad_with_zeros(3, padding.before, padding.after)?.contiguous()?, 0)
    };
    let Some(sizes) = Sizes::new(dtype, x.dims4()?, weight.dims4()?, around, stride) else {
        return Ok(None);
    };
    let (x, weight) = (aligned(x)?, aligned(weight)?);
    let y = unset(&device, dtype, sizes.output())?;
    let [from, filter, to] = [address(&x)?, address(&weight)?, address(&y)?];
    // Each call takes as many pictures as cuDNN's 32-bit counts allow.
    let size = dtype.size_in_bytes();
    let per_picture = [&x, &y].map(|tensor| tensor.elem_count() / sizes.batch());
    let at_once = sizes.pictures_at_once();
    if at_once == 0
        || at_once < sizes.batch() && per_picture.iter().any(|one| !(one * size).is_multiple_of(ALIGNMENT))
    {
        return Ok(None);
    }
    for first in (0..sizes.batch()).step_by(at_once) {
        let [skipped_x, skipped_y] = per_picture.map(|one| (first * one * size) as u64);
        let part = sizes.with_batch(at_once.min(sizes.batch() - first));
        if !convolve(&device, part, [from + skipped_x, filter, to + skipped_y])? {
            return Ok(None);
        }
    }
    Ok(Some(y))
}

/// Bytes: what cuDNN expects of an address.
#[cfg(feature = "cudnn")]
const ALIGNMENT: usize = 16;

/// The same numbers at an address that cuDNN takes: a part of a tensor may begin anywhere.
#[cfg(feature = "cudnn")]
fn aligned(tensor: Tensor) -> Result<Tensor> {
    let is_aligned = (super::tensors::address(&tensor)? as usize).is_multiple_of(ALIGNMENT);
    if is_aligned { Ok(tensor) } else { tensor.force_contiguous() }
}

/// Without the library there is no form of its own.
#[cfg(not(feature = "cudnn"))]
pub(crate) fn conv2d(_: &Tensor, _: &Tensor, _: Padding, _: usize) -> Result<Option<Tensor>> {
    Ok(None)
}
