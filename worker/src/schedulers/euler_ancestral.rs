//! diffusers' `EulerAncestralDiscreteScheduler` (`scheduling_euler_ancestral_discrete.py`): an Euler step to a level
//! below the next one, and new noise up to the next one.

use candle_core::Tensor;

use super::euler::{SigmaTables, denoise};
use super::noise_schedule::BetaDefaults;
use super::prediction::Prediction;
use super::sampler::{Noise, Sampler, Stepped};
use crate::sdxl::{LoadError, Settings};

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct EulerAncestral(SigmaTables);

impl EulerAncestral {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        let tables = SigmaTables::trained(s, steps, BetaDefaults::LINEAR)?;
        match tables.prediction {
            Prediction::Sample => Err(s.unsupported("prediction_type", "\"sample\"")),
            _ => Ok(Self(tables.ending_at(0.0))),
        }
    }
}

impl Sampler for EulerAncestral {
    fn timesteps(&self) -> &[f64] {
        &self.0.timesteps
    }

    fn sigmas(&self) -> Option<&[f64]> {
        Some(&self.0.sigmas)
    }

    fn init_noise_sigma(&self) -> f64 {
        self.0.init_noise_sigma()
    }

    fn input_scale(&self, step: usize) -> f64 {
        self.0.input_scale(step)
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        latents + (noise * self.0.sigmas[step])?
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let (sigma, next) = (self.0.sigmas[step], self.0.sigmas[step + 1]);
        let denoised = denoise(self.0.prediction, prediction, sample, sigma)?;
        let up = (next * next * (sigma * sigma - next * next) / (sigma * sigma)).sqrt();
        let down = (next * next - up * up).max(0.0).sqrt();
        let derivative = ((sample - &denoised)? / sigma)?;
        // The last step draws noise too, times 0, so that the generator advances as in diffusers.
        let sample = ((sample + (derivative * (down - sigma))?)? + (noise.draw()? * up)?)?;
        Ok(Stepped { sample, denoised })
    }
}
