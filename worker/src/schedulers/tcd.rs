//! diffusers' `TCDScheduler` (`scheduling_tcd.py`): strategic stochastic sampling (Zheng et al. 2024, "Trajectory
//! Consistency Distillation", algorithm 4). `eta` is the paper's gamma: an argument of diffusers' `step`; here it is
//! read like a key of the configuration, and 0 as diffusers' pipeline passes it.

use candle_core::Tensor;

use super::ddim::{eta, split};
use super::lcm::distilled_timesteps;
use super::noise_schedule::{BetaDefaults, NoiseSchedule};
use super::prediction::Prediction;
use super::sampler::{Noise, Sampler, Stepped};
use crate::sdxl::{LoadError, Settings};

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct Tcd {
    timesteps: Vec<f64>,
    /// alphas_cumprod of the training.
    trained: Vec<f32>,
    /// 0 draws no noise, 1 draws all of it anew.
    eta: f64,
    prediction: Prediction,
}

impl Tcd {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("thresholding", &[false.into()])?;
        let defaults = BetaDefaults { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" };
        let trained = NoiseSchedule::read(s, defaults, None)?.alphas_cumprod;
        let timesteps = distilled_timesteps(s, steps, trained.len())?;
        let prediction = Prediction::read(s)?;
        prediction.check_signal(s, timesteps.iter().map(|t| f64::from(trained[*t as usize])))?;
        // diffusers reads these and does not use them.
        s.ignore(&["clip_sample_range", "timestep_scaling", "timestep_spacing", "steps_offset"]);
        Ok(Self { timesteps, trained, eta: eta(s)?, prediction })
    }

    fn alpha(&self, timestep: f64) -> f32 {
        self.trained[timestep as usize]
    }
}

impl Sampler for Tcd {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn sigmas(&self) -> Option<&[f64]> {
        None
    }

    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    fn input_scale(&self, _: usize) -> f64 {
        1.0
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        let alpha = f64::from(self.alpha(self.timesteps[step]));
        (latents * alpha.sqrt())? + (noise * (1.0 - alpha).sqrt())?
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let now = f64::from(self.alpha(self.timesteps[step]));
        let (denoised, epsilon) = split(self.prediction, prediction, sample, now)?;
        let next = self.timesteps.get(step + 1).copied();
        let until = next.unwrap_or(0.0);
        // f32 as in diffusers.
        let between = ((1.0 - self.eta) as f32 * until as f32).floor();
        let (at, after) = (self.alpha(between.into()), self.alpha(until));
        let mut sample = ((&denoised * f64::from(at.sqrt()))? + (epsilon * f64::from((1.0 - at).sqrt()))?)?;
        if self.eta > 0.0 && next.is_some() {
            // Up again from the earlier level, with new noise.
            let kept = after / at;
            sample = ((sample * f64::from(kept.sqrt()))?
                + (noise.draw()? * f64::from((1.0 - kept).max(0.0).sqrt()))?)?;
        }
        Ok(Stepped { sample, denoised })
    }
}
