//! diffusers' `LMSDiscreteScheduler` (`scheduling_lms_discrete.py`): a linear multistep method of order 4 in sigma, as
//! in Crowson's k-diffusion.

use candle_core::Tensor;

use super::euler::{SigmaTables, denoise};
use super::multistep::Estimates;
use super::noise_schedule::BetaDefaults;
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use crate::sdxl::{LoadError, Settings};

/// The number of slopes that a step uses.
const ORDER: usize = 4;

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct Lms {
    tables: SigmaTables,
    /// Slopes at earlier levels.
    slopes: Estimates,
}

impl Lms {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        let tables = SigmaTables::trained(s, steps, BetaDefaults::LINEAR)?.shaped(s)?.ending_at(0.0);
        Ok(Self { tables, slopes: Estimates::default() })
    }
}

/// The weight of each slope, newest first, for a step from level `sigmas[0]` to `to`: the integral of the polynomial
/// that is 1 at the slope's level and 0 at the others. The rule of Gauss with two points is exact up to degree 3.
fn weights(sigmas: &[f64], to: f64) -> Vec<f64> {
    let (middle, half) = (0.5 * (sigmas[0] + to), 0.5 * (to - sigmas[0]));
    let offset = half / 3f64.sqrt();
    let polynomial = |at: usize, sigma: f64| -> f64 {
        let others = sigmas.iter().enumerate().filter(|(other, _)| *other != at);
        others.map(|(_, other)| (sigma - other) / (sigmas[at] - other)).product()
    };
    (0..sigmas.len())
        .map(|at| half * (polynomial(at, middle - offset) + polynomial(at, middle + offset)))
        .collect()
}

impl Sampler for Lms {
    fn timesteps(&self) -> &[f64] {
        &self.tables.timesteps
    }

    fn sigmas(&self) -> Option<&[f64]> {
        Some(&self.tables.sigmas)
    }

    fn init_noise_sigma(&self) -> f64 {
        self.tables.init_noise_sigma()
    }

    fn input_scale(&self, step: usize) -> f64 {
        self.tables.input_scale(step)
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        latents + (noise * self.tables.sigmas[step])?
    }

    fn state(&self) -> SamplerState {
        self.slopes.state()
    }

    fn restore(&mut self, taken: usize, mut state: SamplerState) -> Result<(), String> {
        self.slopes = Estimates::restore(&mut state, taken, ORDER)?;
        all_taken(&state)
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        _: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let sigmas = &self.tables.sigmas;
        let denoised = denoise(self.tables.prediction, prediction, sample, sigmas[step])?;
        self.slopes.push(((sample - &denoised)? / sigmas[step])?, ORDER);
        // As in diffusers, the order counts from the first level also if the job begins later.
        let order = ORDER.min(step + 1);
        let used: Vec<f64> = (0..order).map(|back| sigmas[step - back]).collect();
        let mut next = sample.clone();
        for (slope, weight) in self.slopes.iter().zip(weights(&used, sigmas[step + 1])) {
            next = (next + (slope * weight)?)?;
        }
        Ok(Stepped { sample: next, denoised })
    }
}
