//! The interface between a job and its sampler.

use std::collections::HashMap;

use candle_core::{Result, Tensor};

/// What one step gives.
#[derive(Debug, Clone)]
pub struct Stepped {
    /// The latents for the next step.
    pub sample: Tensor,
    /// The sampler's estimate of the finished latents.
    pub denoised: Tensor,
}

/// Tensors by name.
pub type State = HashMap<String, Tensor>;

/// An error that names a tensor of a state that was not used.
pub(super) fn all_taken(state: &State) -> std::result::Result<(), String> {
    match state.keys().next() {
        Some(name) => Err(format!("this sampler has no {name}")),
        None => Ok(()),
    }
}

/// A source of fresh normal noise, shaped as the latents, for samplers that add some.
pub trait Noise {
    /// The next draw.
    ///
    /// # Errors
    /// If the device fails.
    fn draw(&mut self) -> Result<Tensor>;
}

/// One job's sampler. Latents are f32; steps are taken in order from 0.
pub trait Sampler: std::fmt::Debug + Send {
    /// The UNet's timestep at each step, S of them. Fractional for some samplers.
    fn timesteps(&self) -> &[f64];

    /// Noise levels sigma, S + 1 of them, for samplers that are written in them.
    fn sigmas(&self) -> Option<&[f64]>;

    /// The first latents are normal noise times this.
    fn init_noise_sigma(&self) -> f64;

    /// The UNet's input at a step is the latents times this.
    fn input_scale(&self, step: usize) -> f64;

    /// Clean latents with as much noise as those before step `step` have: where image-to-image begins.
    ///
    /// # Errors
    /// If the shapes differ or the device fails.
    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> Result<Tensor>;

    /// Calls of the UNet that one of the requested steps takes.
    fn calls_per_step(&self) -> usize {
        1
    }

    /// The sampler's state from earlier steps, by name; empty for most samplers.
    fn state(&self) -> State {
        State::new()
    }

    /// Restores the result of [`Sampler::state`] after `taken` steps.
    ///
    /// # Errors
    /// With what is wrong, if it is not this sampler's.
    fn restore(&mut self, _taken: usize, state: State) -> std::result::Result<(), String> {
        all_taken(&state)
    }

    /// Turns the latents of step `step` and the UNet's prediction into those of the next.
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
