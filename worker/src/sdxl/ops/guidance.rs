//! Classifier-free guidance (Ho and Salimans 2022) and a sampler's step, in one pass on a GPU.

use candle_core::{DType, Result, Tensor};

use super::arguments::LinearStep;
use super::forms::own_form;
use super::portable;

/// Takes a step with the prediction negative + scale (positive - negative). Without guidance both are the same tensor.
///
/// `negative` and `positive` \[B, C, h, w\] in the UNet's dtype, `sample` in f32. Gives the next latents and the
/// estimate of the finished ones, in f32.
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn guided_step(
    [negative, positive]: [&Tensor; 2],
    scale: f64,
    sample: &Tensor,
    step: LinearStep,
) -> Result<[Tensor; 2]> {
    let own = own_form!(
        GuidedStep,
        sample.device(),
        super::cuda::guided_step([negative, positive], scale, sample, step)
    );
    match own {
        Some(stepped) => Ok(stepped),
        None => portable::guided_step(
            [&negative.to_dtype(DType::F32)?, &positive.to_dtype(DType::F32)?],
            scale,
            sample,
            step,
        ),
    }
}
