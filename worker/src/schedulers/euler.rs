//! diffusers' `EulerDiscreteScheduler` (`scheduling_euler_discrete.py`): Euler's method on the
//! probability-flow equation (Karras et al. 2022, algorithm 2 without churn).

use candle_core::Tensor;

use super::config::prediction;
use super::noise_schedule::{Defaults, NoiseSchedule};
use super::sigmas::{self, SigmaShape};
use super::spacing::{self, Spacing};
use super::{Noise, Prediction, Sampler, Stepped};
use crate::sdxl::{LoadError, Settings};

/// The last alpha_cumprod of a schedule that ends in pure noise: the smallest f16, so that the first
/// sigma is 4096 and not infinite.
pub(super) const ZERO_SNR_FLOOR: f32 = 5.960_464_5e-8;

/// Tables of one job.
#[derive(Debug)]
pub(super) struct Euler {
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
    init_noise_sigma: f64,
    prediction: Prediction,
}

impl Euler {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        let trained = NoiseSchedule::read(s, Defaults::LINEAR, Some(ZERO_SNR_FLOOR))?.sigmas();
        let train = trained.len();
        let spacing = Spacing::read(s, "linspace")?;
        let offset: f64 = s.or("steps_offset", 0.0)?;
        let mut timesteps = match spacing {
            // f32 as the reference rounds them.
            Spacing::Linspace => spacing::linspace((train - 1) as f64, steps)
                .into_iter()
                .rev()
                .map(|t| f64::from(t as f32))
                .collect(),
            Spacing::Leading => spacing::leading(train, steps, offset),
            Spacing::Trailing => spacing::trailing(train, steps),
        };
        let mut sigmas = match s.or("interpolation_type", String::from("linear"))?.as_str() {
            "linear" => sigmas::at_timesteps(&timesteps, &trained),
            other => return Err(s.unsupported("interpolation_type", format!("{other:?}"))),
        };
        let count = timesteps.len();
        let (first, last) = (sigmas[0], sigmas[count - 1]);
        let max = s.or("sigma_max", first)?;
        let min = s.or("sigma_min", last)?;
        let shape = SigmaShape::read(s)?;
        match shape {
            SigmaShape::Trained => {}
            SigmaShape::Karras => sigmas = sigmas::karras(max, min, count),
            SigmaShape::Exponential => sigmas = sigmas::exponential(max, min, count),
        }
        if shape != SigmaShape::Trained {
            timesteps = sigmas.iter().map(|sigma| sigmas::to_timestep(*sigma, &trained)).collect();
        }
        sigmas.push(match s.or("final_sigmas_type", String::from("zero"))?.as_str() {
            "zero" => 0.0,
            "sigma_min" => f64::from(trained[0]),
            other => return Err(s.unsupported("final_sigmas_type", format!("{other:?}"))),
        });
        // Kept as f32, and so used.
        let sigmas: Vec<f64> = sigmas.into_iter().map(|sigma| f64::from(sigma as f32)).collect();
        let prediction = prediction(s)?;
        match s.or("timestep_type", String::from("discrete"))?.as_str() {
            "discrete" => {}
            "continuous" if prediction == Prediction::Velocity => {
                timesteps = sigmas[..count].iter().map(|sigma| 0.25 * sigma.ln()).collect();
            }
            "continuous" => {}
            other => return Err(s.unsupported("timestep_type", format!("{other:?}"))),
        }
        let highest = sigmas.iter().copied().fold(0.0, f64::max);
        let init_noise_sigma = match spacing {
            Spacing::Leading => highest.hypot(1.0),
            Spacing::Linspace | Spacing::Trailing => highest,
        };
        Ok(Self { timesteps, sigmas, init_noise_sigma, prediction })
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

impl Sampler for Euler {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn sigmas(&self) -> Option<&[f64]> {
        Some(&self.sigmas)
    }

    fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    fn input_scale(&self, step: usize) -> f64 {
        1.0 / self.sigmas[step].hypot(1.0)
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        _: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let (sigma, next) = (self.sigmas[step], self.sigmas[step + 1]);
        let denoised = denoise(self.prediction, prediction, sample, sigma)?;
        let derivative = ((sample - &denoised)? / sigma)?;
        Ok(Stepped { sample: (sample + (derivative * (next - sigma))?)?, denoised })
    }
}
