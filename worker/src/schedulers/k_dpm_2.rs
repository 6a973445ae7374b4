//! diffusers' `KDPM2DiscreteScheduler` (`scheduling_k_dpm_2_discrete.py`) and `KDPM2AncestralDiscreteScheduler`
//! (`scheduling_k_dpm_2_ancestral_discrete.py`): DPM-Solver-2 (Lu et al. 2022, "DPM-Solver", algorithm 1) in sigma, and
//! its form with new noise in each step. Each level except the last needs a second call of the UNet at a level between
//! it and the next one, so n steps are 2 n - 1 calls.

use candle_core::Tensor;

use super::euler::{SigmaTables, denoise};
use super::noise_schedule::BetaDefaults;
use super::prediction::Prediction;
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use crate::sdxl::{LoadError, Settings};

/// The name of the latents at the beginning of a step in [`Sampler::state`].
const START: &str = "start";

/// The levels of one step. f32 as in diffusers: the differences are small.
#[derive(Debug, Clone, Copy)]
struct Levels {
    from: f32,
    /// The level of the second call; 0 in the last step, which has none.
    middle: f32,
    /// The level to which the step goes down.
    down: f32,
    /// The noise that brings it up to the next level.
    up: f32,
}

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct KDpm2 {
    tables: SigmaTables,
    levels: Vec<Levels>,
    ancestral: bool,
    /// The latents at the beginning of a step, between its halves.
    start: Option<Tensor>,
}

impl KDpm2 {
    /// `KDPM2DiscreteScheduler`.
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        Self::of(s, steps, false)
    }

    /// `KDPM2AncestralDiscreteScheduler`.
    pub(super) fn ancestral(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        Self::of(s, steps, true)
    }

    fn of(s: &Settings, steps: usize, ancestral: bool) -> Result<Self, LoadError> {
        let defaults = BetaDefaults { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "linear" };
        let mut tables = SigmaTables::trained(s, steps, defaults)?.shaped(s)?.ending_at(0.0);
        if tables.prediction == Prediction::Sample {
            return Err(s.unsupported("prediction_type", "\"sample\""));
        }
        if s.or("use_karras_sigmas", false)? {
            tables.timesteps.iter_mut().for_each(|t| *t = t.round_ties_even());
        }
        let pairs: Vec<(f32, f32)> =
            tables.sigmas.windows(2).map(|pair| (pair[0] as f32, pair[1] as f32)).collect();
        let levels: Vec<Levels> =
            pairs.into_iter().map(|(from, next)| Levels::new(from, next, ancestral)).collect();
        // Every level except the first is listed twice, and the last one three times.
        let (first, rest) = (tables.sigmas[0], tables.sigmas[1..].to_vec());
        tables.sigmas = std::iter::once(first).chain(rest.iter().flat_map(|sigma| [*sigma; 2])).collect();
        tables.sigmas.push(0.0);
        let timesteps: Vec<f64> = levels
            .iter()
            .zip(&tables.timesteps)
            .flat_map(|(levels, timestep)| [*timestep, tables.timestep_of(levels.middle.into())])
            .take((2 * levels.len()).saturating_sub(1))
            .collect();
        tables.timesteps = timesteps;
        Ok(Self { tables, levels, ancestral, start: None })
    }

    /// The level of a call.
    fn sigma(&self, step: usize) -> f64 {
        let levels = self.levels[step / 2];
        f64::from(if step.is_multiple_of(2) { levels.from } else { levels.middle })
    }
}

impl Levels {
    fn new(from: f32, next: f32, ancestral: bool) -> Self {
        let up = match ancestral {
            true => (next * next * (from * from - next * next) / (from * from)).sqrt(),
            false => 0.0,
        };
        let down = if ancestral { (next * next - up * up).max(0.0).sqrt() } else { next };
        let middle = if next == 0.0 { 0.0 } else { (0.5 * (from.ln() + down.ln())).exp() };
        Self { from, middle, down, up }
    }
}

impl Sampler for KDpm2 {
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
        1.0 / self.sigma(step).hypot(1.0)
    }

    fn calls_per_step(&self) -> usize {
        2
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        latents + (noise * self.tables.sigmas[step])?
    }

    fn is_between(&self) -> bool {
        self.start.is_some()
    }

    fn state(&self) -> SamplerState {
        self.start.iter().map(|start| (START.to_owned(), start.clone())).collect()
    }

    fn restore(&mut self, taken: usize, mut state: SamplerState) -> Result<(), String> {
        self.start = state.remove(START);
        if self.start.is_some() != (taken % 2 == 1) {
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
        let Levels { from, middle, down, up } = self.levels[step / 2];
        let sigma = self.sigma(step);
        let denoised = denoise(self.tables.prediction, prediction, sample, sigma)?;
        let slope = ((sample - &denoised)? / sigma)?;
        let sample = match self.start.take() {
            Some(start) => {
                let next = (start + (slope * f64::from(down - from))?)?;
                match self.ancestral {
                    true => (next + (noise.draw()? * f64::from(up))?)?,
                    false => next,
                }
            }
            None => {
                // The last step has no second half.
                self.start = (step + 1 < self.tables.timesteps.len()).then(|| sample.clone());
                (sample + (slope * f64::from(middle - from))?)?
            }
        };
        Ok(Stepped { sample, denoised })
    }
}
