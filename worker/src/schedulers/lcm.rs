//! diffusers' `LCMScheduler` (`scheduling_lcm.py`): multistep consistency sampling (Luo et al. 2023, "Latent
//! Consistency Models", algorithm 3).

use candle_core::Tensor;

use super::ddim::split;
use super::lists;
use super::noise_schedule::{BetaDefaults, NoiseSchedule};
use super::prediction::Prediction;
use super::sampler::{Noise, Sampler, Stepped};
use crate::sdxl::{LoadError, Settings};

/// Standard deviation of the pictures in the boundary condition; a constant in diffusers.
const SIGMA_DATA: f64 = 0.5;

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct Lcm {
    timesteps: Vec<f64>,
    /// alphas_cumprod at each timestep.
    alphas: Vec<f64>,
    timestep_scaling: f64,
    prediction: Prediction,
    clip: Option<f64>,
}

impl Lcm {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("thresholding", &[false.into()])?;
        let defaults = BetaDefaults { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" };
        let trained = NoiseSchedule::read(s, defaults, None)?.alphas_cumprod;
        let timesteps = distilled_timesteps(s, steps, trained.len())?;
        let alphas: Vec<_> = timesteps.iter().map(|t| f64::from(trained[*t as usize])).collect();
        let prediction = Prediction::read(s)?;
        prediction.check_signal(s, alphas.iter().copied())?;
        let clip = s.or("clip_sample", false)?.then_some(s.or("clip_sample_range", 1.0)?);
        Ok(Self { timesteps, alphas, timestep_scaling: s.or("timestep_scaling", 10.0)?, prediction, clip })
    }
}

/// The listed timesteps, or evenly spaced ones of the distillation's; latest first, of `train` ones.
pub(super) fn distilled_timesteps(s: &Settings, steps: usize, train: usize) -> Result<Vec<f64>, LoadError> {
    if let Some(listed) = lists::timesteps(s, steps, train)? {
        return Ok(listed);
    }
    let original: usize = s.or("original_inference_steps", 50)?;
    if !(1..=train).contains(&original) || steps > original {
        let message = format!("is {original}, and the request has {steps} steps");
        return Err(s.wrong("original_inference_steps", message));
    }
    let stride = train / original;
    Ok((0..steps).map(|i| ((original - i * original / steps.max(1)) * stride - 1) as f64).collect())
}

impl Sampler for Lcm {
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
        let alpha = self.alphas[step];
        (latents * alpha.sqrt())? + (noise * (1.0 - alpha).sqrt())?
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let (mut denoised, _) = split(self.prediction, prediction, sample, self.alphas[step])?;
        if let Some(range) = self.clip {
            denoised = denoised.clamp(-range, range)?;
        }
        // The boundary condition of consistency models: at timestep 0 the prediction equals the input.
        let t = self.timesteps[step] * self.timestep_scaling;
        let variance = t * t + SIGMA_DATA * SIGMA_DATA;
        let (skip, out) = (SIGMA_DATA * SIGMA_DATA / variance, t / variance.sqrt());
        let finished = ((&denoised * out)? + (sample * skip)?)?;
        let sample = match self.alphas.get(step + 1) {
            Some(next) => ((finished * next.sqrt())? + (noise.draw()? * (1.0 - next).sqrt())?)?,
            None => finished,
        };
        Ok(Stepped { sample, denoised })
    }
}
