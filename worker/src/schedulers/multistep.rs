//! Common code of DPM-Solver++ and UniPC: variance-preserving latents alpha * picture + sigma * noise, integer
//! timesteps, and noise levels that are spaced as for one step more than those of Euler.

use std::collections::VecDeque;
use std::ops::Index;

use candle_core::Tensor;

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

/// The timesteps and noise levels of one job.
#[derive(Debug)]
pub(super) struct LevelTables {
    pub(super) timesteps: Vec<f64>,
    /// sigma / alpha, as in diffusers: S + 1 values.
    pub(super) sigmas: Vec<f64>,
    prediction: Prediction,
}

impl LevelTables {
    /// `last_placed`: with Karras or exponential levels, `final_sigmas_type` "sigma_min" is the last of these levels
    /// and not the lowest level of the training.
    pub(super) fn new(s: &Settings, steps: usize, last_placed: bool) -> Result<Self, LoadError> {
        s.only("thresholding", &[false.into()])?;
        for key in ["use_flow_sigmas", "use_dynamic_shifting", "use_lu_lambdas"] {
            s.only(key, &[false.into()])?;
        }
        let trained = NoiseSchedule::read(s, BetaDefaults::LINEAR, Some(ZERO_SNR_FLOOR))?.sigmas();
        let train = trained.len();
        let offset: f64 = s.or("steps_offset", 0.0)?;
        let mut timesteps: Vec<f64> = match Spacing::read(s, "linspace")? {
            Spacing::Linspace => {
                let ascending = spacing::linspace((train - 1) as f64, steps + 1);
                ascending.into_iter().rev().take(steps).map(f64::round_ties_even).collect()
            }
            Spacing::Leading => {
                let mut all = spacing::leading(train / (steps + 1), steps + 1, offset);
                all.truncate(steps);
                all
            }
            Spacing::Trailing => spacing::trailing(train, steps),
        };
        let shape = SigmaShape::read(s)?;
        let mut sigmas = if shape == SigmaShape::Trained {
            sigmas::at_timesteps(&timesteps, &trained)
        } else {
            // From the highest to the lowest level of the training, not only of the chosen timesteps.
            let max = s.or("sigma_max", f64::from(trained[train - 1]))?;
            let min = s.or("sigma_min", f64::from(trained[0]))?;
            let placed = shape.place(max, min, steps);
            let cosine = s.or("beta_schedule", String::new())? == "squaredcos_cap_v2" && !last_placed;
            let whole =
                |t: f64| if shape == SigmaShape::Karras && !cosine { t.round_ties_even() } else { t.trunc() };
            timesteps = placed.iter().map(|sigma| whole(sigmas::to_timestep(*sigma, &trained))).collect();
            placed
        };
        sigmas.push(match s.or("final_sigmas_type", String::from("zero"))?.as_str() {
            "zero" => 0.0,
            "sigma_min" if last_placed && shape != SigmaShape::Trained => sigmas[sigmas.len() - 1],
            "sigma_min" => f64::from(trained[0]),
            other => return Err(s.unsupported("final_sigmas_type", format!("{other:?}"))),
        });
        let sigmas = sigmas.into_iter().map(|sigma| f64::from(sigma as f32)).collect();
        Ok(Self { timesteps, sigmas, prediction: Prediction::read(s)? })
    }

    pub(super) fn level(&self, index: usize) -> NoiseLevel {
        let ratio = self.sigmas[index];
        let alpha = 1.0 / ratio.hypot(1.0);
        NoiseLevel { alpha, sigma: ratio * alpha, lambda: -ratio.ln() }
    }

    /// Converts the UNet's prediction to an estimate of the picture.
    pub(super) fn denoise(
        &self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let NoiseLevel { alpha, sigma, .. } = self.level(step);
        match self.prediction {
            Prediction::Sample => Ok(prediction.clone()),
            Prediction::Epsilon => (sample - (prediction * sigma)?)? / alpha,
            Prediction::Velocity => (sample * alpha)? - (prediction * sigma)?,
        }
    }
}
