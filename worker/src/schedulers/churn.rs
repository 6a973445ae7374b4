//! Noise that Euler's method adds before a step (Karras et al. 2022, algorithm 2, lines 4 to 6): the arguments of
//! diffusers' `step` for it, read like keys of the configuration.

use candle_core::Tensor;

use super::sampler::Noise;
use crate::sdxl::{LoadError, Settings};

/// The settings; no noise by default.
#[derive(Debug)]
pub(super) struct Churn {
    /// How much noise is added in all steps together.
    amount: f64,
    /// The levels at which noise is added.
    levels: std::ops::RangeInclusive<f64>,
    /// The factor of the noise.
    scale: f64,
}

impl Churn {
    pub(super) fn read(s: &Settings) -> Result<Self, LoadError> {
        let churn = Self {
            amount: s.or("s_churn", 0.0)?,
            levels: s.or("s_tmin", 0.0)?..=s.or("s_tmax", f64::INFINITY)?,
            scale: s.or("s_noise", 1.0)?,
        };
        if !(churn.amount.is_finite() && churn.amount >= 0.0 && churn.scale.is_finite()) {
            return Err(s.wrong("s_churn", "should be a finite number of at least 0"));
        }
        Ok(churn)
    }

    /// Whether no step adds noise.
    pub(super) fn is_none(&self) -> bool {
        self.amount == 0.0
    }

    /// The level to which noise is added before a step from level `sigma`, of `steps` steps.
    pub(super) fn raised(&self, sigma: f64, steps: usize) -> f64 {
        let most = std::f64::consts::SQRT_2 - 1.0;
        let gamma = if self.levels.contains(&sigma) { (self.amount / steps as f64).min(most) } else { 0.0 };
        sigma * (gamma + 1.0)
    }

    /// The latents with noise from level `sigma` up to `raised`.
    pub(super) fn add(
        &self,
        sample: &Tensor,
        (sigma, raised): (f64, f64),
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Tensor> {
        if raised == sigma {
            return Ok(sample.clone());
        }
        sample + (noise.draw()? * (self.scale * (raised * raised - sigma * sigma).sqrt()))?
    }
}
