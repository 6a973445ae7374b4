//! diffusers' `EDMEulerScheduler` (`scheduling_edm_euler.py`): Euler's method with the scales of EDM, as CosXL uses it.

use candle_core::Tensor;

use super::churn::Churn;
use super::edm::Edm;
use super::sampler::{Noise, Sampler, Stepped};
use crate::sdxl::{LoadError, Settings};

/// The sampler of one job.
#[derive(Debug)]
pub(super) struct EdmEuler {
    edm: Edm,
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
    churn: Churn,
}

impl EdmEuler {
    pub(super) fn new(s: &Settings, steps: usize) -> Result<Self, LoadError> {
        let edm = Edm::read(s)?;
        let (timesteps, mut sigmas) = edm.tables(s, steps, edm.sigma_min())?;
        // "sigma_min" repeats the last level, which with one step is the highest.
        if let [.., before, last] = &mut sigmas[..]
            && *last > 0.0
        {
            *last = *before;
        }
        Ok(Self { edm, timesteps, sigmas, churn: Churn::read(s)? })
    }
}

impl Sampler for EdmEuler {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn sigmas(&self) -> Option<&[f64]> {
        Some(&self.sigmas)
    }

    fn init_noise_sigma(&self) -> f64 {
        self.edm.init_noise_sigma()
    }

    fn input_scale(&self, step: usize) -> f64 {
        self.edm.input_scale(self.sigmas[step])
    }

    fn add_noise(&self, step: usize, latents: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        latents + (noise * self.sigmas[step])?
    }

    fn step(
        &mut self,
        step: usize,
        prediction: &Tensor,
        sample: &Tensor,
        noise: &mut dyn Noise,
    ) -> candle_core::Result<Stepped> {
        let (sigma, next) = (self.sigmas[step], self.sigmas[step + 1]);
        let raised = self.churn.raised(sigma, self.timesteps.len());
        let sample = self.churn.add(sample, (sigma, raised), noise)?;
        let denoised = self.edm.denoise(prediction, &sample, raised)?;
        let slope = ((&sample - &denoised)? / raised)?;
        Ok(Stepped { sample: (sample + (slope * (next - raised))?)?, denoised })
    }
}
