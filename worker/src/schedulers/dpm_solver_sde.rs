//! diffusers' `DPMSolverSDEScheduler` (`scheduling_dpmsolver_sde.py`): the stochastic DPM-Solver++ of second order in
//! sigma, as `sample_dpmpp_sde` of Crowson's k-diffusion. Each level except the last needs a second call of the UNet,
//! so n steps are 2 n - 1 calls.
//!
//! The noise of a step and that of its first half are from one Brownian motion. diffusers computes it with torchsde
//! from a seed of its own; here it is two draws of the job's generator, see decision 0022.

use candle_core::Tensor;

use super::euler::{SigmaTables, denoise};
use super::noise_schedule::BetaDefaults;
use super::prediction::Prediction;
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use crate::sdxl::{LoadError, Settings};

/// The names of the latents at the beginning of a step, and of the noise of its first half, in [`Sampler::state`].
const START: &str = "start";
const NOISE: &str = "noise";

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct DpmSolverSde {
    tables: SigmaTables,
    /// The level of each call.
    levels: Vec<f64>,
    /// The latents at the beginning of a step, and the noise of its first half, between its halves.
    first: Option<(Tensor, Tensor)>,
}

impl DpmSolverSde {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        let defaults = BetaDefaults { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "linear" };
        let tables = SigmaTables::trained(s, steps, defaults)?.shaped(s)?;
        if tables.prediction == Prediction::Sample {
            return Err(s.unsupported("prediction_type", "\"sample\""));
        }
        let middle: Vec<f64> = tables.sigmas.windows(2).map(|pair| (pair[0] * pair[1]).sqrt()).collect();
        let mut tables = tables.ending_at(0.0);
        let timesteps: Vec<f64> = middle.iter().map(|sigma| tables.timestep_of(*sigma)).collect();
        tables.timesteps = between(&tables.timesteps, &timesteps);
        let last = tables.sigmas.len() - 1;
        let levels = between(&tables.sigmas[..last], &middle);
        // Every level except the first and the last is listed twice, as in diffusers.
        let listed = tables.sigmas.iter().enumerate();
        tables.sigmas =
            listed.flat_map(|(i, sigma)| vec![*sigma; if i == 0 || i == last { 1 } else { 2 }]).collect();
        Ok(Self { tables, levels, first: None })
    }
}

/// Every value, and after each except the last one the value between it and the next.
fn between(values: &[f64], middle: &[f64]) -> Vec<f64> {
    let pairs = values.iter().enumerate();
    pairs.flat_map(|(i, value)| std::iter::once(*value).chain(middle.get(i).copied())).collect()
}

impl Sampler for DpmSolverSde {
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
        1.0 / self.levels[step].hypot(1.0)
    }

    fn calls_per_step(&self) -> usize {
        2
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        latents + (noise * self.tables.sigmas[step])?
    }

    fn is_between(&self) -> bool {
        self.first.is_some()
    }

    fn state(&self) -> SamplerState {
        let halves = self.first.iter().flat_map(|(start, noise)| [(START, start), (NOISE, noise)]);
        halves.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
    }

    fn restore(&mut self, taken: usize, mut state: SamplerState) -> Result<(), String> {
        self.first = state.remove(START).zip(state.remove(NOISE));
        if self.first.is_some() != (taken % 2 == 1) {
            return Err(format!("its half of a step does not match {taken} calls"));
        }
        all_taken(&state)
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let denoised = denoise(self.tables.prediction, prediction, sample, self.levels[step])?;
        let Some(next) = self.levels.get(step + 1).copied() else {
            // The last step goes to no noise: to the estimate.
            return Ok(Stepped { sample: denoised.clone(), denoised });
        };
        let (from, to, start, drawn) = match self.first.take() {
            None => {
                let drawn = noise.draw()?;
                self.first = Some((sample.clone(), drawn.clone()));
                (self.levels[step], next, sample.clone(), drawn)
            }
            Some((start, first)) => {
                let (from, middle) = (self.levels[step - 1], self.levels[step]);
                // Brownian motion over the whole step: over its first half, and independent over its second.
                let [one, two] = [from - middle, middle - next].map(|length| (length / (from - next)).sqrt());
                let drawn = ((first * one)? + (noise.draw()? * two)?)?;
                (from, next, start, drawn)
            }
        };
        // An ancestral step: down to a lower level, and with noise up to `to`.
        let up = to.min((to * to * (from * from - to * to) / (from * from)).sqrt());
        let kept = (to * to - up * up).max(0.0).sqrt() / from;
        let sample = ((start * kept)? + (&denoised * (1.0 - kept))?)?;
        Ok(Stepped { sample: (sample + (drawn * up)?)?, denoised })
    }
}
