//! The second part of a job: a refiner, or a pass at a larger size.

use candle_core::Tensor;

use super::conditioning::Conditioning;
use super::seeded_noise::SeededNoise;
use super::window::Window;
use crate::schedulers::{Noise, Sampler};

/// The UNet of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// The pipeline's own.
    Own,
    /// The refiner's.
    Refiner,
}

/// The second part of a job. It is prepared when the job begins.
#[derive(Debug)]
pub(super) struct Second {
    pub(super) model: Model,
    pub(super) sampler: Box<dyn Sampler>,
    pub(super) window: Window,
    pub(super) conditioning: Conditioning,
    /// The noise of a pass at a larger size. A refiner goes on with the noise of the first part.
    pub(super) noise: Option<SeededNoise>,
}

impl Second {
    /// Number of steps.
    pub(super) fn steps(&self) -> usize {
        self.window.len()
    }

    /// The sampler and its steps.
    pub(super) fn sampler(&self) -> (&dyn Sampler, Window) {
        (self.sampler.as_ref(), self.window)
    }

    /// What a pass at a larger size draws first: the noise of the posterior and that of its first latents, both
    /// [B, C, h, w].
    pub(super) fn draws(&mut self) -> candle_core::Result<Option<[Tensor; 2]>> {
        let Some(noise) = &mut self.noise else { return Ok(None) };
        Ok(Some([noise.draw_for_all()?, noise.draw()?]))
    }
}
