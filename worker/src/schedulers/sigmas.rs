//! Tables of noise levels, in f64 as in numpy.

use super::beta;
use crate::sdxl::{LoadError, Settings};

/// The spacing of the noise levels between the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SigmaShape {
    /// The levels of the training timesteps.
    Trained,
    /// Karras et al. 2022, equation 5, with rho = 7.
    Karras,
    /// Levels with evenly spaced logarithms.
    Exponential,
    /// Quantiles of a beta distribution: many high and many low levels.
    Beta,
}

impl SigmaShape {
    pub(super) fn read(s: &Settings) -> Result<Self, LoadError> {
        let mut chosen = (Self::Trained, "");
        for (key, shape) in [
            ("use_karras_sigmas", Self::Karras),
            ("use_exponential_sigmas", Self::Exponential),
            ("use_beta_sigmas", Self::Beta),
        ] {
            if !s.or(key, false)? {
                continue;
            }
            if chosen.0 != Self::Trained {
                return Err(s.wrong(key, format!("excludes {}", chosen.1)));
            }
            chosen = (shape, key);
        }
        Ok(chosen.0)
    }

    /// `count` levels from `max` down to `min`.
    pub(super) fn place(self, max: f64, min: f64, count: usize) -> Vec<f64> {
        const RHO: f64 = 7.0;
        let ramp = super::spacing::linspace(1.0, count).into_iter();
        match self {
            Self::Karras => {
                let (low, high) = (min.powf(1.0 / RHO), max.powf(1.0 / RHO));
                ramp.map(|r| (high + r * (low - high)).powf(RHO)).collect()
            }
            Self::Beta => ramp.map(|r| min + beta::quantile(1.0 - r) * (max - min)).collect(),
            // The caller interpolates trained levels and does not call this.
            Self::Trained | Self::Exponential => {
                ramp.map(|r| (max.ln() + r * (min.ln() - max.ln())).exp()).collect()
            }
        }
    }
}

/// `sigmas` at fractional timesteps, interpolated linearly (`numpy.interp`).
pub(super) fn at_timesteps(timesteps: &[f64], sigmas: &[f32]) -> Vec<f64> {
    let last = sigmas.len() - 1;
    timesteps
        .iter()
        .map(|t| {
            let t = t.clamp(0.0, last as f64);
            let low = (t as usize).min(last);
            let (a, b) = (f64::from(sigmas[low]), f64::from(sigmas[(low + 1).min(last)]));
            a + (t - low as f64) * (b - a)
        })
        .collect()
}

/// The timestep of a sigma, interpolated between the logarithms of two entries. `sigmas` are in ascending order.
pub(super) fn to_timestep(sigma: f64, sigmas: &[f32]) -> f64 {
    let log = |s: f64| s.max(1e-10).ln();
    // f32, as the logarithm of an f32 table in numpy.
    let table = |i: usize| f64::from(sigmas[i].ln());
    let target = log(sigma);
    let above = sigmas.partition_point(|s| f64::from(s.ln()) <= target);
    let low = above.saturating_sub(1).min(sigmas.len() - 2);
    let w = ((table(low) - target) / (table(low) - table(low + 1))).clamp(0.0, 1.0);
    (1.0 - w) * low as f64 + w * (low + 1) as f64
}
