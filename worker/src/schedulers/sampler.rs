//! The interface of a sampler.

use std::collections::HashMap;

use candle_core::{Result, Tensor};

use crate::sdxl::ops::LinearStep;

/// The result of one step.
#[derive(Debug, Clone)]
pub struct Stepped {
    /// The latents for the next step.
    pub sample: Tensor,
    /// The sampler's estimate of the finished latents.
    pub denoised: Tensor,
}

/// The state of a sampler: tensors by name.
pub type SamplerState = HashMap<String, Tensor>;

/// Checks that no tensor of a state is left.
///
/// # Errors
/// Names a tensor that is left.
pub(super) fn all_taken(state: &SamplerState) -> std::result::Result<(), String> {
    match state.keys().next() {
        Some(name) => Err(format!("this sampler has no {name}")),
        None => Ok(()),
    }
}

/// A source of normal noise in the shape of the latents.
pub trait Noise {
    /// The next draw.
    ///
    /// # Errors
    /// If the device fails.
    fn draw(&mut self) -> Result<Tensor>;
}

/// The sampler of one job. Latents are f32. Steps are taken in order, from 0.
pub trait Sampler: std::fmt::Debug + Send {
    /// The UNet's timestep of each of the S steps. Fractional for some samplers.
    fn timesteps(&self) -> &[f64];

    /// The S + 1 noise levels sigma, for samplers that use them.
    fn sigmas(&self) -> Option<&[f64]>;

    /// The factor of the first latents, which are normal noise.
    fn init_noise_sigma(&self) -> f64;

    /// The factor of the latents for the UNet's input at a step.
    fn input_scale(&self, step: usize) -> f64;

    /// Adds the noise level of step `step` to clean latents, for image-to-image.
    ///
    /// # Errors
    /// If the shapes differ or the device fails.
    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> Result<Tensor>;

    /// The coefficients of step `step`, if it needs nothing but latents and prediction, and is linear in both. Then a
    /// GPU takes it in one pass.
    fn linear(&self, _step: usize) -> Option<LinearStep> {
        None
    }

    /// Number of UNet calls per requested step.
    fn calls_per_step(&self) -> usize {
        1
    }

    /// Whether the newest call was not the last one of its step: then no other sampler can go on from the latents.
    fn is_between(&self) -> bool {
        false
    }

    /// The sampler's state from earlier steps. Empty for most samplers.
    fn state(&self) -> SamplerState {
        SamplerState::new()
    }

    /// Restores the state after `taken` steps.
    ///
    /// # Errors
    /// What is wrong, if the state is not one of this sampler.
    fn restore(&mut self, _taken: usize, state: SamplerState) -> std::result::Result<(), String> {
        all_taken(&state)
    }

    /// Computes the latents of the next step from the latents of step `step` and the UNet's prediction.
    ///
    /// # Errors
    /// If the shapes differ or the device fails.
    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        noise: &mut dyn Noise,
    ) -> Result<Stepped>;
}
