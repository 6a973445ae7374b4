//! What replaces a part of a running job when it goes on with another request.

use candle_core::{DType, Device, Tensor};

use super::conditioning::{Conditioning, EncodedPrompt};
use super::error::PipelineError;
use super::guidance::Guidance;
use super::second::Second;
use super::seeded_noise::SeededNoise;
use crate::schedulers::Sampler;

/// How far two noise levels may be apart to be the same, as a share of them: they are rounded to f32 in some samplers.
const SAME: f64 = 1e-4;

/// What a request replaces after the steps of the one that it goes on from.
#[derive(Debug)]
pub(super) struct Switch {
    /// After so many steps of the job.
    pub(super) after: usize,
    /// The steps of the first part that are left after it.
    pub(super) left: usize,
    /// The sampler and its window; `None`: it goes on.
    pub(super) sampler: Option<(Box<dyn Sampler>, Start)>,
    /// The noise of another seed; `None`: it goes on.
    pub(super) noise: Option<SeededNoise>,
    pub(super) guidance: Option<Guidance>,
    pub(super) conditioning: Conditioning,
    pub(super) positive: EncodedPrompt,
    pub(super) negative: Option<EncodedPrompt>,
    pub(super) second: Option<Second>,
}

/// Where another sampler begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) first: usize,
    pub(super) end: usize,
    /// The noise level of the latents.
    pub(super) from: Level,
    /// The level of its first step.
    pub(super) to: Level,
}

/// Latents at a noise level: alpha * picture + sigma * noise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    alpha: f64,
    sigma: f64,
}

impl Level {
    /// The level of the latents before a step.
    fn of(sampler: &dyn Sampler, step: usize) -> candle_core::Result<Self> {
        let [zero, one] = [0.0_f32, 1.0].map(|value| Tensor::full(value, (1, 1, 1, 1), &Device::Cpu));
        let (zero, one) = (zero?, one?);
        let share = |latents: &Tensor, noise: &Tensor| -> candle_core::Result<f64> {
            let noisy = sampler.add_noise(step, latents, noise)?.to_dtype(DType::F64)?;
            noisy.flatten_all()?.get(0)?.to_scalar::<f64>()
        };
        Ok(Self { alpha: share(&one, &zero)?, sigma: share(&zero, &one)? })
    }

    /// The noise in relation to the picture.
    fn ratio(self) -> f64 {
        self.sigma / self.alpha
    }

    fn is_same(self, other: Self) -> bool {
        (self.ratio() - other.ratio()).abs() <= SAME * self.ratio()
    }

    /// Latents of this level at another one, by the estimate of the picture that gave them.
    pub(super) fn moved(
        self,
        to: Self,
        latents: &Tensor,
        estimate: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        match estimate.filter(|_| !self.is_same(to)) {
            Some(picture) => {
                let noise = ((latents / self.alpha)? - picture)?;
                (picture + (noise * (to.ratio() / self.ratio()))?)? * to.alpha
            }
            // The same numbers, bit for bit.
            None if self.alpha == to.alpha => Ok(latents.clone()),
            None => latents * (to.alpha / self.alpha),
        }
    }
}

impl Start {
    /// The first step of `sampler` that is not above the level of `old` before its step `at`.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if no step is left.
    pub(super) fn of(
        sampler: &dyn Sampler,
        end: usize,
        (old, at): (&dyn Sampler, usize),
    ) -> Result<Self, PipelineError> {
        let from = Level::of(old, at)?;
        for first in (0..end).step_by(sampler.calls_per_step()) {
            let to = Level::of(sampler, first)?;
            if to.ratio() <= from.ratio() * (1.0 + SAME) {
                return Ok(Self { first, end, from, to });
            }
        }
        let message =
            "leaves no step below the noise level of the step in from: name more steps, or an earlier step";
        Err(PipelineError::bad("num_inference_steps", message))
    }
}
