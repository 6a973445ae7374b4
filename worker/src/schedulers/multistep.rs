//! Common code of DPM-Solver++, UniPC and DEIS: variance-preserving latents alpha * picture + sigma * noise, integer
//! timesteps, and noise levels that are spaced as for one step more than those of Euler.

use std::collections::VecDeque;
use std::ops::Index;

use candle_core::Tensor;

use super::edm::Edm;
use super::lists;
use super::noise_schedule::{BetaDefaults, NoiseSchedule, ZERO_SNR_FLOOR};
use super::prediction::Prediction;
use super::sampler::SamplerState;
use super::sigmas::{self, SigmaShape};
use super::spacing::{self, Spacing};
use crate::sdxl::{LoadError, Settings};

/// A noise level: alpha^2 + sigma^2 = 1; lambda = ln(alpha / sigma), infinite without noise.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoiseLevel {
    pub(super) alpha: f64,
    pub(super) sigma: f64,
    pub(super) lambda: f64,
}

/// Estimates of the picture from earlier steps, newest first.
#[derive(Debug, Default)]
pub(super) struct Estimates(VecDeque<Tensor>);

impl Estimates {
    /// Adds an estimate and keeps the newest `most`.
    pub(super) fn push(&mut self, newest: Tensor, most: usize) {
        self.0.push_front(newest);
        self.0.truncate(most);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.0.iter()
    }

    /// The estimates, named `estimate.0` (the newest), `estimate.1` and so on.
    pub(super) fn state(&self) -> SamplerState {
        self.0.iter().enumerate().map(|(i, tensor)| (format!("estimate.{i}"), tensor.clone())).collect()
    }

    /// Removes the estimates from a sampler's state: one per step taken, at most `most`.
    ///
    /// # Errors
    /// If there is another number of them.
    pub(super) fn restore(state: &mut SamplerState, taken: usize, most: usize) -> Result<Self, String> {
        let estimates: VecDeque<_> = (0..).map_while(|i| state.remove(&format!("estimate.{i}"))).collect();
        match estimates.len() == taken.min(most) {
            true => Ok(Self(estimates)),
            false => Err(format!("it has {} estimates after {taken} steps", estimates.len())),
        }
    }
}

impl Index<usize> for Estimates {
    type Output = Tensor;

    fn index(&self, index: usize) -> &Tensor {
        &self.0[index]
    }
}

/// How the tables of a class differ from those of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// DPM-Solver++, multistep.
    DpmSolver,
    /// DPM-Solver++, single step: ignores `timestep_spacing`.
    Singlestep,
    /// UniPC: with placed levels, `final_sigmas_type` "sigma_min" is the last of these and not the lowest level of the
    /// training.
    UniPc,
    /// DEIS: never ends without noise.
    Deis,
}

impl Rules {
    /// The level after the last step. `placed`: the last one of levels that are not the training's; `lowest`: the
    /// lowest level of the training.
    fn last(self, s: &Settings, placed: Option<f64>, lowest: f64) -> Result<f64, LoadError> {
        if self == Self::Deis {
            return Ok(placed.unwrap_or(lowest));
        }
        match (s.or("final_sigmas_type", String::from("zero"))?.as_str(), placed) {
            ("zero", _) => Ok(0.0),
            ("sigma_min", Some(placed)) if self == Self::UniPc => Ok(placed),
            ("sigma_min", _) => Ok(lowest),
            (other, _) => Err(s.unsupported("final_sigmas_type", format!("{other:?}"))),
        }
    }
}

/// What latents and predictions mean.
#[derive(Debug)]
enum Meaning {
    /// Latents are alpha * picture + sigma * noise.
    Preserving(Prediction),
    /// Latents are picture + sigma * noise, with the scales of EDM.
    Edm(Edm),
}

/// The timesteps and noise levels of one job.
#[derive(Debug)]
pub(super) struct LevelTables {
    pub(super) timesteps: Vec<f64>,
    /// sigma / alpha, as in diffusers: S + 1 values.
    pub(super) sigmas: Vec<f64>,
    meaning: Meaning,
}

impl LevelTables {
    pub(super) fn new(s: &Settings, steps: usize, rules: Rules) -> Result<Self, LoadError> {
        s.only("thresholding", &[false.into()])?;
        for key in ["use_flow_sigmas", "use_dynamic_shifting", "use_lu_lambdas"] {
            s.only(key, &[false.into()])?;
        }
        let trained = NoiseSchedule::read(s, BetaDefaults::LINEAR, Some(ZERO_SNR_FLOOR))?.sigmas();
        let train = trained.len();
        let offset: f64 = s.or("steps_offset", 0.0)?;
        let spacing = match rules {
            Rules::Singlestep => Spacing::Linspace,
            _ => Spacing::read(s, "linspace")?,
        };
        let mut timesteps: Vec<f64> = match (lists::timesteps(s, steps, train)?, spacing) {
            (Some(listed), _) => listed,
            (None, Spacing::Linspace) => {
                let ascending = spacing::linspace((train - 1) as f64, steps + 1);
                ascending.into_iter().rev().take(steps).map(f64::round_ties_even).collect()
            }
            (None, Spacing::Leading) => {
                let mut all = spacing::leading(train / (steps + 1), steps + 1, offset);
                all.truncate(steps);
                all
            }
            (None, Spacing::Trailing) => spacing::trailing(train, steps),
        };
        let shape = SigmaShape::read(s)?;
        let mut placed = None;
        let mut sigmas = if shape == SigmaShape::Trained {
            sigmas::at_timesteps(&timesteps, &trained)
        } else {
            // From the highest to the lowest level of the training, not only of the chosen timesteps.
            let max = s.or("sigma_max", f64::from(trained[train - 1]))?;
            let min = s.or("sigma_min", f64::from(trained[0]))?;
            let levels = shape.place(max, min, steps);
            let cosine = s.or("beta_schedule", String::new())? == "squaredcos_cap_v2";
            // diffusers rounds Karras timesteps and cuts off the others.
            let round = shape == SigmaShape::Karras && !(cosine && rules == Rules::DpmSolver);
            let whole = |t: f64| if round { t.round_ties_even() } else { t.trunc() };
            timesteps = levels.iter().map(|sigma| whole(sigmas::to_timestep(*sigma, &trained))).collect();
            placed = levels.last().copied();
            levels
        };
        sigmas.push(rules.last(s, placed, f64::from(trained[0]))?);
        let sigmas = sigmas.into_iter().map(|sigma| f64::from(sigma as f32)).collect();
        Ok(Self { timesteps, sigmas, meaning: Meaning::Preserving(Prediction::read(s)?) })
    }

    /// The tables of `EDMDPMSolverMultistepScheduler`.
    pub(super) fn edm(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("thresholding", &[false.into()])?;
        let edm = Edm::read(s)?;
        let (timesteps, sigmas) = edm.tables(s, steps, edm.sigma_min())?;
        Ok(Self { timesteps, sigmas, meaning: Meaning::Edm(edm) })
    }

    pub(super) fn level(&self, index: usize) -> NoiseLevel {
        let ratio = self.sigmas[index];
        if let Meaning::Edm(_) = self.meaning {
            return NoiseLevel { alpha: 1.0, sigma: ratio, lambda: -ratio.ln() };
        }
        let alpha = 1.0 / ratio.hypot(1.0);
        NoiseLevel { alpha, sigma: ratio * alpha, lambda: -ratio.ln() }
    }

    /// The factor of the first latents.
    pub(super) fn init_noise_sigma(&self) -> f64 {
        match &self.meaning {
            Meaning::Preserving(_) => 1.0,
            Meaning::Edm(edm) => edm.init_noise_sigma(),
        }
    }

    /// The factor of the UNet's input.
    pub(super) fn input_scale(&self, step: usize) -> f64 {
        match &self.meaning {
            Meaning::Preserving(_) => 1.0,
            Meaning::Edm(edm) => edm.input_scale(self.sigmas[step]),
        }
    }

    /// Clean latents with the noise of step `step`.
    pub(super) fn add_noise(
        &self,
        step: usize,
        latents: &Tensor,
        noise: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let level = self.level(step);
        (latents * level.alpha)? + (noise * level.sigma)?
    }

    /// Converts the UNet's prediction to an estimate of the picture.
    pub(super) fn denoise(
        &self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let NoiseLevel { alpha, sigma, .. } = self.level(step);
        match &self.meaning {
            Meaning::Edm(edm) => edm.denoise(prediction, sample, self.sigmas[step]),
            Meaning::Preserving(Prediction::Sample) => Ok(prediction.clone()),
            Meaning::Preserving(Prediction::Epsilon) => (sample - (prediction * sigma)?)? / alpha,
            Meaning::Preserving(Prediction::Velocity) => (sample * alpha)? - (prediction * sigma)?,
        }
    }
}
