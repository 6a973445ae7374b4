//! Samplers: plain tables of timesteps and noise levels, and one tensor update per step.
//!
//! Each sampler is what diffusers' class of the same name does, in one file. It is built for one job
//! from the checkpoint's `scheduler_config.json` and the job's changes to it.

mod config;
mod ddim;
mod dpm_solver;
mod euler;
mod euler_ancestral;
mod heun;
mod lcm;
mod multistep;
mod noise_schedule;
mod sigmas;
mod spacing;
mod unipc;

pub use config::{SCHEDULERS, SchedulerConfig};

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

/// Says what of a state nobody took.
fn all_taken(state: &State) -> std::result::Result<(), String> {
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
    /// What the UNet is told at each step, S of them. Fractional for some samplers.
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

    /// What the sampler remembers of earlier steps, by name; empty for most.
    fn state(&self) -> State {
        State::new()
    }

    /// Takes up what [`Sampler::state`] gave after `taken` steps.
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

/// What the UNet was trained to predict (Salimans and Ho 2022, appendix D).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity alpha * noise - sigma * picture.
    Velocity,
    /// The picture.
    Sample,
}
