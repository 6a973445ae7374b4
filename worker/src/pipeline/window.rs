//! Which of a sampler's steps a job takes: `get_timesteps` and the cutoff of `denoising_end` in diffusers' pipelines.

use super::error::PipelineError;
use super::inputs::Inputs;
use crate::schedulers::Sampler;

/// A range of a sampler's steps; a second-order sampler has two for most requested ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// The first step.
    pub(super) first: usize,
    /// The step after the last one.
    pub(super) end: usize,
}

/// The timestep where a share of the noise of `train` timesteps is gone, rounded as in Python.
fn cutoff(share: f64, train: usize) -> f64 {
    (train as f64 - share * train as f64).round_ties_even()
}

impl Window {
    /// The steps of a job: all, or those of its `strength`, or those between `denoising_start` and `denoising_end`.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if there are none.
    pub(super) fn of(inputs: &Inputs, sampler: &dyn Sampler, train: usize) -> Result<Self, PipelineError> {
        let all = sampler.timesteps().len();
        let first = match inputs.denoising_start {
            Some(share) => after(share, sampler, train),
            None if inputs.is_image_to_image() => last(inputs.num_inference_steps, inputs.strength, sampler),
            None => 0,
        };
        if first >= all {
            let field = if inputs.denoising_start.is_some() { "denoising_start" } else { "strength" };
            let message = if field == "strength" { "is too small" } else { "is too large" };
            return Err(PipelineError::bad(field, format!("{message}: no step is left to run")));
        }
        let Some(share) = inputs.denoising_end else { return Ok(Self { first, end: all }) };
        let cutoff = cutoff(share, train);
        let taken = sampler.timesteps()[first..].iter().filter(|t| **t >= cutoff).count();
        if taken == 0 {
            let message = match inputs.is_image_to_image() && inputs.denoising_start.is_none() {
                true => format!(
                    "is too small: with an image and strength {} no step before it is run: raise one of them",
                    inputs.strength
                ),
                false => "is too small: no step is left to run before it".to_owned(),
            };
            return Err(PipelineError::bad("denoising_end", message));
        }
        Ok(Self { first, end: first + taken })
    }

    /// The steps after a share of the noise is gone, of a refiner.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if there are none.
    pub(super) fn after(share: f64, sampler: &dyn Sampler, train: usize) -> Result<Self, PipelineError> {
        let (first, end) = (after(share, sampler, train), sampler.timesteps().len());
        if first >= end {
            return Err(PipelineError::bad("denoising_end", "is too large: no step is left for the refiner"));
        }
        Ok(Self { first, end })
    }

    /// The steps of a second pass.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if there are none.
    pub(super) fn last(steps: usize, strength: f64, sampler: &dyn Sampler) -> Result<Self, PipelineError> {
        let (first, end) = (last(steps, strength, sampler), sampler.timesteps().len());
        if first >= end {
            return Err(PipelineError::bad("hires", "has too small a strength: no step is left to run"));
        }
        Ok(Self { first, end })
    }

    /// Number of steps.
    pub(super) fn len(self) -> usize {
        self.end - self.first
    }
}

/// The first of the steps that `strength` leaves, in double precision as in diffusers.
fn last(steps: usize, strength: f64, sampler: &dyn Sampler) -> usize {
    steps.saturating_sub((steps as f64 * strength) as usize) * sampler.calls_per_step()
}

/// The first step after a share of the noise is gone.
fn after(share: f64, sampler: &dyn Sampler, train: usize) -> usize {
    let (timesteps, cutoff) = (sampler.timesteps(), cutoff(share, train));
    let mut left = timesteps.iter().filter(|t| **t < cutoff).count();
    if sampler.calls_per_step() == 2 && left.is_multiple_of(2) {
        // All timesteps but the first are there twice: not from between the two.
        left += 1;
    }
    timesteps.len().saturating_sub(left)
}
