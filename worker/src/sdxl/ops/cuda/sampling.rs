//! `guidance_step.cu`.

use candle_core::{DType, Result, Tensor};

use super::super::arguments::LinearStep;
use super::super::kernels;
use super::launching::queue;
use super::tensors::{Operands, address, operands, unset};

/// See [`super::super::guided_step`].
pub(crate) fn guided_step(
    [negative, positive]: [&Tensor; 2],
    scale: f64,
    sample: &Tensor,
    step: LinearStep,
) -> Result<Option<[Tensor; 2]>> {
    let dims = sample.dims();
    if sample.dtype() != DType::F32 || negative.dims() != dims || positive.dims() != dims {
        return Ok(None);
    }
    let Some(predictions) = operands([negative, positive])? else { return Ok(None) };
    let Some(Operands { device, tensors: [sample], .. }) = operands([sample])? else { return Ok(None) };
    let [negative, positive] = &predictions.tensors;
    let [next, denoised] = [unset(&device, DType::F32, dims)?, unset(&device, DType::F32, dims)?];
    let buffers = [address(negative)?, address(positive)?, address(&sample)?, address(&next)?];
    let count = sample.elem_count();
    let launch = kernels::guidance_step(buffers, Some(address(&denoised)?), count, scale, step);
    queue(&device, predictions.dtype, &launch)?;
    Ok(Some([next, denoised]))
}
