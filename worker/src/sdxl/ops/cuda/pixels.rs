//! `pixels.cu` and `finite.cu`.

use candle_core::{DType, Device, Result, Tensor};

use super::super::kernels;
use super::launching::queue;
use super::tensors::{Operands, address, operands, unset};

/// See [`super::super::pixels`]. Waits for the GPU.
pub(crate) fn pixels(images: &Tensor) -> Result<Option<Option<Vec<u8>>>> {
    let &[pictures, 3, height, width] = images.dims() else { return Ok(None) };
    let Some(Operands { device, dtype, tensors: [images] }) = operands([images])? else { return Ok(None) };
    let rgb = unset(&device, DType::U8, images.elem_count())?;
    let broken = cleared(images.device())?;
    let launch =
        kernels::pixels(address(&images)?, address(&rgb)?, address(&broken)?, pictures, height * width);
    queue(&device, dtype, &launch)?;
    let is_finite = broken.to_vec1::<u32>()? == [0];
    Ok(Some(if is_finite { Some(rgb.to_vec1()?) } else { None }))
}

/// Sets `flag` to 1 if a number of `tensor` is not finite, and makes the flag if there is none yet. Does not wait.
pub(crate) fn finite(tensor: &Tensor, flag: &mut Option<Tensor>) -> Result<Option<()>> {
    let Some(Operands { device, dtype, tensors: [x] }) = operands([tensor])? else { return Ok(None) };
    let broken = match flag {
        Some(flag) => flag,
        None => flag.insert(cleared(x.device())?),
    };
    let launch = kernels::finite(address(&x)?, address(broken)?, x.elem_count());
    queue(&device, dtype, &launch)?;
    Ok(Some(()))
}

/// A flag that is not set.
fn cleared(device: &Device) -> Result<Tensor> {
    Tensor::zeros(1, DType::U32, device)
}
