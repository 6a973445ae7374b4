//! diffusers' `DDPMScheduler` (`scheduling_ddpm.py`): Ho et al. 2020, algorithm 2, with equations 6 and 7.

use candle_core::Tensor;

use super::ddim::split;
use super::lists;
use super::noise_schedule::{BetaDefaults, NoiseSchedule};
use super::prediction::Prediction;
use super::sampler::{Noise, Sampler, Stepped};
use super::spacing;
use crate::sdxl::{LoadError, Settings};

/// The variance of the noise that a step adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variance {
    /// That of the posterior, equation 7.
    Small,
    /// The beta of the step.
    Large,
}

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct Ddpm {
    timesteps: Vec<f64>,
    /// alphas_cumprod at each timestep.
    alphas: Vec<f32>,
    variance: Variance,
    prediction: Prediction,
    clip: Option<f64>,
}

impl Ddpm {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("thresholding", &[false.into()])?;
        let trained = NoiseSchedule::read(s, BetaDefaults::LINEAR, None)?.alphas_cumprod;
        let train = trained.len();
        let timesteps = match lists::timesteps(s, steps, train)? {
            Some(listed) => listed,
            None => spacing::whole(s, steps, train)?,
        };
        let alphas: Vec<f32> = timesteps.iter().map(|t| trained[(*t as usize).min(train - 1)]).collect();
        let prediction = Prediction::read(s)?;
        prediction.check_signal(s, alphas.iter().map(|alpha| f64::from(*alpha)))?;
        // "fixed_small_log" is the same number by way of its logarithm.
        let variance = match s.or("variance_type", String::from("fixed_small"))?.as_str() {
            "fixed_small" | "fixed_small_log" => Variance::Small,
            "fixed_large" => Variance::Large,
            other => return Err(s.unsupported("variance_type", format!("{other:?}"))),
        };
        let clip = s.or("clip_sample", true)?.then_some(s.or("clip_sample_range", 1.0)?);
        Ok(Self { timesteps, alphas, variance, prediction, clip })
    }
}

impl Sampler for Ddpm {
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
        let alpha = f64::from(self.alphas[step]);
        (latents * alpha.sqrt())? + (noise * (1.0 - alpha).sqrt())?
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let now = self.alphas[step];
        let (mut denoised, _) = split(self.prediction, prediction, sample, f64::from(now))?;
        if let Some(range) = self.clip {
            denoised = denoised.clamp(-range, range)?;
        }
        // f32 as in diffusers: the differences are small.
        let next = self.alphas.get(step + 1).copied().unwrap_or(1.0);
        let alpha = now / next;
        let beta = 1.0 - alpha;
        let picture = f64::from(next.sqrt() * beta / (1.0 - now));
        let kept = f64::from(alpha.sqrt() * (1.0 - next) / (1.0 - now));
        let mut sample = ((&denoised * picture)? + (sample * kept)?)?;
        // The last step draws noise too, with almost no variance, so that the generator advances as in diffusers.
        if self.timesteps[step] > 0.0 {
            let variance = match self.variance {
                Variance::Small => ((1.0 - next) / (1.0 - now) * beta).max(1e-20),
                Variance::Large => beta,
            };
            sample = (sample + (noise.draw()? * f64::from(variance.sqrt()))?)?;
        }
        Ok(Stepped { sample, denoised })
    }
}
