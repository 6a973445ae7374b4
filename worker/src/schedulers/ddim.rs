//! diffusers' `DDIMScheduler` (`scheduling_ddim.py`): Song et al. 2021, equation 12. `eta` is an argument
//! of diffusers' `step`; here it is read like a key of the configuration.

use candle_core::Tensor;

use super::noise_schedule::{BetaDefaults, NoiseSchedule};
use super::prediction::Prediction;
use super::sampler::{Noise, Sampler, Stepped};
use super::spacing;
use crate::sdxl::ops::LinearStep;
use crate::sdxl::{LoadError, Settings};

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct Ddim {
    timesteps: Vec<f64>,
    /// alphas_cumprod at each timestep, and at the timestep after it.
    levels: Vec<(f64, f64)>,
    /// The share of the noise that is drawn anew in each step: 0 to 1.
    eta: f64,
    prediction: Prediction,
    clip: Option<f64>,
}

impl Ddim {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("thresholding", &[false.into()])?;
        let alphas = NoiseSchedule::read(s, BetaDefaults::LINEAR, None)?.alphas_cumprod;
        let train = alphas.len();
        let timesteps = spacing::whole(s, steps, train)?;
        let end = if s.or("set_alpha_to_one", true)? { 1.0 } else { f64::from(alphas[0]) };
        let stride = (train / steps.max(1)) as f64;
        let at = |t: f64| if t < 0.0 { end } else { f64::from(alphas[(t as usize).min(train - 1)]) };
        let levels: Vec<_> = timesteps.iter().map(|t| (at(*t), at(t - stride))).collect();
        let prediction = Prediction::read(s)?;
        prediction.check_signal(s, levels.iter().map(|(alpha, _)| *alpha))?;
        let clip = s.or("clip_sample", true)?.then_some(s.or("clip_sample_range", 1.0)?);
        Ok(Self { timesteps, levels, eta: eta(s)?, prediction, clip })
    }

    /// The standard deviation of the noise that is drawn in a step: equation 16.
    fn deviation(&self, step: usize) -> f64 {
        if self.eta == 0.0 {
            return 0.0;
        }
        // f32 as in diffusers: the differences are small.
        let (now, next) = (self.levels[step].0 as f32, self.levels[step].1 as f32);
        let variance = (1.0 - next) / (1.0 - now) * (1.0 - now / next);
        self.eta * f64::from(variance.max(0.0).sqrt())
    }
}

/// The key `eta`: 0 to 1.
pub(super) fn eta(s: &Settings) -> Result<f64, LoadError> {
    let eta = s.or("eta", 0.0)?;
    match (0.0..=1.0).contains(&eta) {
        true => Ok(eta),
        false => Err(s.wrong("eta", format!("is {eta}, not 0 to 1"))),
    }
}

/// Estimates of the picture and of the noise, for latents alpha * picture + sigma * noise.
pub(super) fn split(
    kind: Prediction,
    prediction: &Tensor,
    sample: &Tensor,
    alpha_prod: f64,
) -> candle_core::Result<(Tensor, Tensor)> {
    let (alpha, sigma) = (alpha_prod.sqrt(), (1.0 - alpha_prod).sqrt());
    match kind {
        Prediction::Epsilon => Ok((((sample - (prediction * sigma)?)? / alpha)?, prediction.clone())),
        Prediction::Sample => Ok((prediction.clone(), ((sample - (prediction * alpha)?)? / sigma)?)),
        Prediction::Velocity => {
            let picture = ((sample * alpha)? - (prediction * sigma)?)?;
            Ok((picture, ((prediction * alpha)? + (sample * sigma)?)?))
        }
    }
}

impl Sampler for Ddim {
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
        let (alpha, _) = self.levels[step];
        (latents * alpha.sqrt())? + (noise * (1.0 - alpha).sqrt())?
    }

    fn linear(&self, step: usize) -> Option<LinearStep> {
        if self.clip.is_some() || self.eta > 0.0 {
            return None;
        }
        let levels = |prod: f64| (prod.sqrt(), (1.0 - prod).sqrt());
        let (now, next) = self.levels[step];
        let ((alpha, sigma), (next_alpha, next_sigma)) = (levels(now), levels(next));
        // The estimates of the picture, c and d, and of the noise, by latents and prediction.
        let ((c, d), (noise_of_sample, noise_of_prediction)) = match self.prediction {
            Prediction::Epsilon => ((1.0 / alpha, -sigma / alpha), (0.0, 1.0)),
            Prediction::Sample => ((0.0, 1.0), (1.0 / sigma, -alpha / sigma)),
            Prediction::Velocity => ((alpha, -sigma), (sigma, alpha)),
        };
        let a = next_alpha * c + next_sigma * noise_of_sample;
        Some(LinearStep { a, b: next_alpha * d + next_sigma * noise_of_prediction, c, d })
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        drawn: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let (now, next) = self.levels[step];
        let (mut denoised, noise) = split(self.prediction, prediction, sample, now)?;
        if let Some(range) = self.clip {
            denoised = denoised.clamp(-range, range)?;
        }
        let deviation = self.deviation(step);
        let kept = (1.0 - next - deviation * deviation).max(0.0).sqrt();
        let mut sample = ((&denoised * next.sqrt())? + (noise * kept)?)?;
        if self.eta > 0.0 {
            sample = (sample + (drawn.draw()? * deviation)?)?;
        }
        Ok(Stepped { sample, denoised })
    }
}
