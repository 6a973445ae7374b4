//! The timesteps of a job (Lin et al. 2023, table 2), latest first.

use crate::sdxl::{LoadError, Settings};

/// The setting `timestep_spacing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spacing {
    /// From the last timestep to the first, both included.
    Linspace,
    /// Multiples of a whole stride, plus an offset. Does not include the last timesteps.
    Leading,
    /// Counted down from the last timestep. Does not include the first timesteps.
    Trailing,
}

impl Spacing {
    pub(super) fn read(s: &Settings, default: &str) -> Result<Self, LoadError> {
        match s.or("timestep_spacing", default.to_owned())?.as_str() {
            "linspace" => Ok(Self::Linspace),
            "leading" => Ok(Self::Leading),
            "trailing" => Ok(Self::Trailing),
            other => Err(s.unsupported("timestep_spacing", format!("{other:?}"))),
        }
    }
}

/// The whole timesteps of a job with `steps` steps, of `train` timesteps: those of DDIM, DDPM and PNDM.
pub(super) fn whole(s: &Settings, steps: usize, train: usize) -> Result<Vec<f64>, LoadError> {
    let offset: f64 = s.or("steps_offset", 0.0)?;
    Ok(match Spacing::read(s, "leading")? {
        Spacing::Linspace => {
            let ascending = linspace((train - 1) as f64, steps);
            ascending.into_iter().rev().map(f64::round_ties_even).collect()
        }
        Spacing::Leading => leading(train / steps.max(1), steps, offset),
        Spacing::Trailing => trailing(train, steps),
    })
}

/// `count` numbers from 0 to `last`, evenly spaced.
pub(super) fn linspace(last: f64, count: usize) -> Vec<f64> {
    let step = last / (count.max(2) - 1) as f64;
    (0..count).map(|i| if i > 0 && i + 1 == count { last } else { i as f64 * step }).collect()
}

/// `arange(count) * stride`, latest first, plus `offset`.
pub(super) fn leading(stride: usize, count: usize, offset: f64) -> Vec<f64> {
    (0..count).rev().map(|i| (i * stride) as f64 + offset).collect()
}

/// `round(arange(train, 0, -train / count)) - 1`. If rounding makes numpy's `arange` one entry longer, this is longer
/// too.
pub(super) fn trailing(train: usize, count: usize) -> Vec<f64> {
    let train = train as f64;
    let step = train / count as f64;
    // numpy uses the difference of the first two entries as the step.
    let delta = (train - step) - train;
    let length = (train / step).ceil() as usize;
    (0..length).map(|i| (train + i as f64 * delta).round_ties_even() - 1.0).collect()
}
