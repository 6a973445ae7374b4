//! diffusers' `PNDMScheduler` (`scheduling_pndm.py`) without Runge-Kutta steps: the pseudo linear multistep method of
//! Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", equation 12. The second timestep has
//! two calls of the UNet, so n steps are n + 1 calls.

use candle_core::Tensor;

use super::ddim::split;
use super::multistep::Estimates;
use super::noise_schedule::{BetaDefaults, NoiseSchedule, ZERO_SNR_FLOOR};
use super::prediction::Prediction;
use super::sampler::{Noise, Sampler, SamplerState, Stepped, all_taken};
use super::spacing;
use crate::sdxl::{LoadError, Settings};

/// The number of predictions that a step uses.
const ORDER: usize = 4;
/// The name of the latents before the first step in [`Sampler::state`].
const START: &str = "start";

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct Pndm {
    /// One for each call of the UNet.
    timesteps: Vec<f64>,
    trained: Vec<f32>,
    /// alphas_cumprod after the last timestep.
    end: f32,
    /// Timesteps of the training per step.
    stride: f64,
    prediction: Prediction,
    /// Calls so far. An image-to-image job begins later, but with the first of them.
    taken: usize,
    /// What the UNet predicted.
    predictions: Estimates,
    /// The latents before the first step, between the calls for it.
    start: Option<Tensor>,
}

impl Pndm {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        s.only("skip_prk_steps", &[true.into()])?;
        let trained = NoiseSchedule::read(s, BetaDefaults::LINEAR, Some(ZERO_SNR_FLOOR))?.alphas_cumprod;
        let mut timesteps = spacing::whole(s, steps, trained.len())?;
        if let Some(second) = timesteps.get(1).copied() {
            timesteps.insert(1, second);
        }
        let prediction = Prediction::read(s)?;
        if prediction == Prediction::Sample {
            return Err(s.unsupported("prediction_type", "\"sample\""));
        }
        Ok(Self {
            timesteps,
            end: if s.or("set_alpha_to_one", false)? { 1.0 } else { trained[0] },
            stride: (trained.len() / steps.max(1)) as f64,
            trained,
            prediction,
            taken: 0,
            predictions: Estimates::default(),
            start: None,
        })
    }

    fn alpha(&self, timestep: f64) -> f32 {
        match timestep < 0.0 {
            true => self.end,
            false => self.trained[(timestep as usize).min(self.trained.len() - 1)],
        }
    }

    /// Adams and Bashforth's combination of the newest predictions.
    fn combined(&self) -> candle_core::Result<Tensor> {
        let weights: &[f64] = match self.predictions.len() {
            0 | 1 => &[1.0],
            2 => &[3.0 / 2.0, -1.0 / 2.0],
            3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let mut sum = (&self.predictions[0] * weights[0])?;
        for (earlier, weight) in self.predictions.iter().zip(weights).skip(1) {
            sum = (sum + (earlier * *weight)?)?;
        }
        Ok(sum)
    }

    /// Moves latents from timestep `from` to `to` along a prediction: equation 11.
    fn moved(&self, sample: &Tensor, prediction: &Tensor, from: f64, to: f64) -> candle_core::Result<Tensor> {
        // f32 as in diffusers: the difference is small.
        let (now, next) = (self.alpha(from), self.alpha(to));
        let noise = match self.prediction {
            Prediction::Velocity => {
                ((prediction * f64::from(now.sqrt()))? + (sample * f64::from((1.0 - now).sqrt()))?)?
            }
            Prediction::Epsilon | Prediction::Sample => prediction.clone(),
        };
        let divisor = now * (1.0 - next).sqrt() + (now * (1.0 - now) * next).sqrt();
        (sample * f64::from((next / now).sqrt()))? - (noise * f64::from((next - now) / divisor))?
    }
}

impl Sampler for Pndm {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn sigmas(&self) -> Option<&[f64]> {
        None
    }

    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    fn input_scale(&self, _: usize) -> f64 {
        1.0
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        let alpha = f64::from(self.alpha(self.timesteps[step]));
        (latents * alpha.sqrt())? + (noise * (1.0 - alpha).sqrt())?
    }

    fn is_between(&self) -> bool {
        self.start.is_some()
    }

    fn state(&self) -> SamplerState {
        let mut state = self.predictions.state();
        state.extend(self.start.iter().map(|start| (START.to_owned(), start.clone())));
        state
    }

    fn restore(&mut self, taken: usize, mut state: SamplerState) -> Result<(), String> {
        // The second call adds no prediction.
        let predictions = if taken < 2 { taken } else { taken - 1 };
        self.predictions = Estimates::restore(&mut state, predictions, ORDER)?;
        self.start = state.remove(START);
        self.taken = taken;
        if self.start.is_some() != (taken == 1) {
            return Err(format!("its latents before the first step do not match {taken} calls"));
        }
        all_taken(&state)
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        _: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let timestep = self.timesteps[step];
        let (denoised, _) = split(self.prediction, prediction, sample, f64::from(self.alpha(timestep)))?;
        let next = match self.start.take() {
            // The second call: the first step again, with the mean of the predictions at its two ends.
            Some(start) => {
                let mean = ((prediction + &self.predictions[0])? / 2.0)?;
                self.moved(&start, &mean, timestep + self.stride, timestep)?
            }
            None => {
                self.predictions.push(prediction.clone(), ORDER);
                if self.taken == 0 {
                    self.start = Some(sample.clone());
                }
                self.moved(sample, &self.combined()?, timestep, timestep - self.stride)?
            }
        };
        self.taken += 1;
        Ok(Stepped { sample: next, denoised })
    }
}
