//! diffusers' `EulerDiscreteScheduler` (`scheduling_euler_discrete.py`): Euler's method for the probability flow ODE
//! (Karras et al. 2022, algorithm 2 without churn).

use candle_core::Tensor;

use super::noise_schedule::{BetaDefaults, NoiseSchedule, ZERO_SNR_FLOOR};
use super::prediction::Prediction;
use super::sampler::{Noise, Sampler, Stepped};
use super::sigmas::{self, SigmaShape};
use super::spacing::{self, Spacing};
use crate::sdxl::ops::LinearStep;
use crate::sdxl::{LoadError, Settings};

/// The tables of the samplers with latents x = picture + sigma * noise.
#[derive(Debug)]
pub(super) struct SigmaTables {
    pub(super) timesteps: Vec<f64>,
    pub(super) sigmas: Vec<f64>,
    pub(super) prediction: Prediction,
    spacing: Spacing,
    trained: Vec<f32>,
}

impl SigmaTables {
    /// The training noise levels at the timesteps, without the last level.
    pub(super) fn trained(s: &Settings, steps: usize, defaults: BetaDefaults) -> Result<Self, LoadError> {
        let trained = NoiseSchedule::read(s, defaults, Some(ZERO_SNR_FLOOR))?.sigmas();
        let train = trained.len();
        let spacing = Spacing::read(s, "linspace")?;
        let offset: f64 = s.or("steps_offset", 0.0)?;
        let timesteps: Vec<f64> = match spacing {
            // f32 as in diffusers.
            Spacing::Linspace => {
                let ascending = spacing::linspace((train - 1) as f64, steps);
                ascending.into_iter().rev().map(|t| f64::from(t as f32)).collect()
            }
            Spacing::Leading => spacing::leading(train / steps.max(1), steps, offset),
            Spacing::Trailing => spacing::trailing(train, steps),
        };
        let sigmas = sigmas::at_timesteps(&timesteps, &trained);
        Ok(Self { timesteps, sigmas, prediction: Prediction::read(s)?, spacing, trained })
    }

    /// Replaces the levels by Karras or exponential ones if the configuration says so.
    pub(super) fn shaped(mut self, s: &Settings) -> Result<Self, LoadError> {
        let shape = SigmaShape::read(s)?;
        let count = self.sigmas.len();
        let max = s.or("sigma_max", self.sigmas[0])?;
        let min = s.or("sigma_min", self.sigmas[count - 1])?;
        if shape != SigmaShape::Trained {
            self.sigmas = shape.place(max, min, count);
            self.timesteps =
                self.sigmas.iter().map(|sigma| sigmas::to_timestep(*sigma, &self.trained)).collect();
        }
        Ok(self)
    }

    /// Adds the last level and rounds all levels to f32, as diffusers.
    pub(super) fn ending_at(mut self, last: f64) -> Self {
        self.sigmas.push(last);
        self.sigmas.iter_mut().for_each(|sigma| *sigma = f64::from(*sigma as f32));
        self
    }

    pub(super) fn init_noise_sigma(&self) -> f64 {
        let highest = self.sigmas.iter().copied().fold(0.0, f64::max);
        match self.spacing {
            // "leading" does not start at pure noise: the variance of the picture is added.
            Spacing::Leading => highest.hypot(1.0),
            Spacing::Linspace | Spacing::Trailing => highest,
        }
    }

    pub(super) fn input_scale(&self, step: usize) -> f64 {
        1.0 / self.sigmas[step].hypot(1.0)
    }
}

/// The estimate of the picture from latents x = picture + sigma * noise.
pub(super) fn denoise(
    kind: Prediction,
    prediction: &Tensor,
    sample: &Tensor,
    sigma: f64,
) -> candle_core::Result<Tensor> {
    match kind {
        Prediction::Sample => Ok(prediction.clone()),
        Prediction::Epsilon => sample - (prediction * sigma)?,
        Prediction::Velocity => {
            let variance = sigma * sigma + 1.0;
            (prediction * (-sigma / variance.sqrt()))? + (sample / variance)?
        }
    }
}

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct Euler(SigmaTables);

impl Euler {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("interpolation_type", &["linear".into()])?;
        let tables = SigmaTables::trained(s, steps, BetaDefaults::LINEAR)?.shaped(s)?;
        let last = match s.or("final_sigmas_type", String::from("zero"))?.as_str() {
            "zero" => 0.0,
            "sigma_min" => f64::from(tables.trained[0]),
            other => return Err(s.unsupported("final_sigmas_type", format!("{other:?}"))),
        };
        let mut tables = tables.ending_at(last);
        match s.or("timestep_type", String::from("discrete"))?.as_str() {
            "discrete" => {}
            "continuous" if tables.prediction == Prediction::Velocity => {
                let levels = &tables.sigmas[..tables.timesteps.len()];
                tables.timesteps = levels.iter().map(|sigma| 0.25 * sigma.ln()).collect();
            }
            "continuous" => {}
            other => return Err(s.unsupported("timestep_type", format!("{other:?}"))),
        }
        Ok(Self(tables))
    }
}

impl Sampler for Euler {
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

    fn linear(&self, step: usize) -> Option<LinearStep> {
        let (sigma, next) = (self.0.sigmas[step], self.0.sigmas[step + 1]);
        let (c, d) = match self.0.prediction {
            Prediction::Sample => (0.0, 1.0),
            Prediction::Epsilon => (1.0, -sigma),
            Prediction::Velocity => {
                let variance = sigma * sigma + 1.0;
                (1.0 / variance, -sigma / variance.sqrt())
            }
        };
        let kept = next / sigma;
        Some(LinearStep { a: kept + (1.0 - kept) * c, b: (1.0 - kept) * d, c, d })
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        _: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let (sigma, next) = (self.0.sigmas[step], self.0.sigmas[step + 1]);
        let denoised = denoise(self.0.prediction, prediction, sample, sigma)?;
        // x + (x - x_0) / sigma (sigma' - sigma), written without cancellation: with zero terminal SNR the first sigma
        // is 4096, and the two terms are a thousand times larger than their sum.
        let noise = (sample - &denoised)?;
        Ok(Stepped { sample: (&denoised + (noise * (next / sigma))?)?, denoised })
    }
}
