//! diffusers' `EulerDiscreteScheduler` (`scheduling_euler_discrete.py`): Euler's method for the probability flow ODE
//! (Karras et al. 2022, algorithm 2).

use candle_core::Tensor;

use super::churn::Churn;
use super::lists;
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
    pub(super) trained: Vec<f32>,
}

impl SigmaTables {
    /// The training noise levels at the timesteps, without the last level.
    pub(super) fn trained(s: &Settings, steps: usize, defaults: BetaDefaults) -> Result<Self, LoadError> {
        let trained = NoiseSchedule::read(s, defaults, Some(ZERO_SNR_FLOOR))?.sigmas();
        let train = trained.len();
        let spacing = Spacing::read(s, "linspace")?;
        let offset: f64 = s.or("steps_offset", 0.0)?;
        let timesteps: Vec<f64> = match (lists::timesteps(s, steps, train)?, spacing) {
            (Some(listed), _) => listed,
            // f32 as in diffusers.
            (None, Spacing::Linspace) => {
                let ascending = spacing::linspace((train - 1) as f64, steps);
                ascending.into_iter().rev().map(|t| f64::from(t as f32)).collect()
            }
            (None, Spacing::Leading) => spacing::leading(train / steps.max(1), steps, offset),
            (None, Spacing::Trailing) => spacing::trailing(train, steps),
        };
        let sigmas = sigmas::at_timesteps(&timesteps, &trained);
        Ok(Self { timesteps, sigmas, prediction: Prediction::read(s)?, spacing, trained })
    }

    /// Replaces the levels by Karras, exponential or beta ones if the configuration says so.
    pub(super) fn shaped(mut self, s: &Settings) -> Result<Self, LoadError> {
        let shape = SigmaShape::read(s)?;
        let count = self.sigmas.len();
        let max = s.or("sigma_max", self.sigmas[0])?;
        let min = s.or("sigma_min", self.sigmas[count - 1])?;
        if shape != SigmaShape::Trained {
            self.sigmas = shape.place(max, min, count);
            self.timesteps = self.sigmas.iter().map(|sigma| self.timestep_of(*sigma)).collect();
        }
        Ok(self)
    }

    /// The fractional timestep of a level.
    pub(super) fn timestep_of(&self, sigma: f64) -> f64 {
        sigmas::to_timestep(sigma, &self.trained)
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
pub(super) struct Euler(SigmaTables, Churn);

impl Euler {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("interpolation_type", &["linear".into()])?;
        let tables = SigmaTables::trained(s, steps, BetaDefaults::LINEAR)?.shaped(s)?;
        let listed = lists::sigmas(s, steps)?;
        let last = match s.or("final_sigmas_type", String::from("zero"))?.as_str() {
            "zero" => 0.0,
            "sigma_min" => f64::from(tables.trained[0]),
            other => return Err(s.unsupported("final_sigmas_type", format!("{other:?}"))),
        };
        let mut tables = tables.ending_at(last);
        if let Some(levels) = listed {
            tables.timesteps =
                levels[..levels.len() - 1].iter().map(|sigma| tables.timestep_of(*sigma)).collect();
            tables.sigmas = levels;
        }
        match s.or("timestep_type", String::from("discrete"))?.as_str() {
            "discrete" => {}
            "continuous" if tables.prediction == Prediction::Velocity => {
                let levels = &tables.sigmas[..tables.timesteps.len()];
                tables.timesteps = levels.iter().map(|sigma| 0.25 * sigma.ln()).collect();
            }
            "continuous" => {}
            other => return Err(s.unsupported("timestep_type", format!("{other:?}"))),
        }
        Ok(Self(tables, Churn::read(s)?))
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
        if !self.1.is_none() {
            return None;
        }
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
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let (sigma, next) = (self.0.sigmas[step], self.0.sigmas[step + 1]);
        let raised = self.1.raised(sigma, self.0.timesteps.len());
        let sample = &self.1.add(sample, (sigma, raised), noise)?;
        // As in diffusers, only a prediction of the noise is read at the raised level.
        let read_at = if self.0.prediction == Prediction::Epsilon { raised } else { sigma };
        let denoised = denoise(self.0.prediction, prediction, sample, read_at)?;
        // x + (x - x_0) / sigma (sigma' - sigma), written without cancellation: with zero terminal SNR the first sigma
        // is 4096, and the two terms are a thousand times larger than their sum.
        let noise = (sample - &denoised)?;
        Ok(Stepped { sample: (&denoised + (noise * (next / raised))?)?, denoised })
    }
}
