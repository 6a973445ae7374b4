//! diffusers' `HeunDiscreteScheduler` (`scheduling_heun_discrete.py`): Karras et al. 2022, algorithm 1 without churn.
//! Each noise level except the last needs two calls of the UNet, so n steps are 2 n - 1 calls.

use candle_core::Tensor;

use super::euler::{SigmaTables, denoise};
use super::noise_schedule::BetaDefaults;
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use crate::sdxl::{LoadError, Settings};

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct Heun {
    tables: SigmaTables,
    /// The latents and the slope at the first half of a step, between its halves.
    first: Option<(Tensor, Tensor)>,
}

impl Heun {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("clip_sample", &[false.into()])?;
        let defaults = BetaDefaults { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "linear" };
        let mut tables = SigmaTables::trained(s, steps, defaults)?.shaped(s)?.ending_at(0.0);
        // Every level except the first and the last is used twice.
        let twice = |values: &[f64]| {
            values
                .iter()
                .enumerate()
                .flat_map(|(i, v)| std::iter::repeat_n(*v, if i == 0 { 1 } else { 2 }))
                .collect()
        };
        tables.timesteps = twice(&tables.timesteps);
        let end = tables.sigmas.pop();
        tables.sigmas = twice(&tables.sigmas);
        tables.sigmas.extend(end);
        Ok(Self { tables, first: None })
    }
}

impl Sampler for Heun {
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

    fn calls_per_step(&self) -> usize {
        2
    }

    fn is_between(&self) -> bool {
        self.first.is_some()
    }

    fn state(&self) -> SamplerState {
        let halves = self.first.iter().flat_map(|(start, slope)| [("start", start), ("slope", slope)]);
        halves.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
    }

    fn restore(&mut self, taken: usize, mut state: SamplerState) -> Result<(), String> {
        self.first = state.remove("start").zip(state.remove("slope"));
        if self.first.is_some() != (taken % 2 == 1) {
            return Err(format!("its half of a step does not match {taken} calls"));
        }
        all_taken(&state)
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        latents + (noise * self.tables.sigmas[step])?
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        _: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let sigmas = &self.tables.sigmas;
        let sigma = sigmas[step];
        let denoised = denoise(self.tables.prediction, prediction, sample, sigma)?;
        let slope = ((sample - &denoised)? / sigma)?;
        let sample = match self.first.take() {
            None => {
                let next = (sample + (&slope * (sigmas[step + 1] - sigma))?)?;
                self.first = Some((sample.clone(), slope));
                next
            }
            Some((start, first)) => (start + ((first + slope)? * ((sigma - sigmas[step - 1]) / 2.0))?)?,
        };
        Ok(Stepped { sample, denoised })
    }
}
