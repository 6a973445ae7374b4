//! EDM's scales of the UNet's input and output (Karras et al. 2022, table 1, last column), and its noise levels.

use candle_core::Tensor;

use super::sigmas::SigmaShape;
use crate::sdxl::{LoadError, Settings};

/// What the UNet predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// `epsilon`.
    Plus,
    /// `v_prediction`.
    Minus,
}

/// The settings that `EDMEulerScheduler` and `EDMDPMSolverMultistepScheduler` share.
#[derive(Debug)]
pub(super) struct Edm {
    sigma_min: f64,
    sigma_max: f64,
    /// Standard deviation of the latents of pictures.
    sigma_data: f64,
    sign: Sign,
}

impl Edm {
    pub(super) fn read(s: &Settings) -> Result<Self, LoadError> {
        let sign = match s.or("prediction_type", String::from("epsilon"))?.as_str() {
            "epsilon" => Sign::Plus,
            "v_prediction" => Sign::Minus,
            other => return Err(s.unsupported("prediction_type", format!("{other:?}"))),
        };
        let edm = Self {
            sigma_min: s.or("sigma_min", 0.002)?,
            sigma_max: s.or("sigma_max", 80.0)?,
            sigma_data: s.or("sigma_data", 0.5)?,
            sign,
        };
        if !(edm.sigma_min > 0.0 && edm.sigma_min < edm.sigma_max && edm.sigma_max.is_finite()) {
            return Err(s.wrong("sigma_min", "should be above 0 and below sigma_max"));
        }
        if !(edm.sigma_data > 0.0 && edm.sigma_data.is_finite()) {
            return Err(s.wrong("sigma_data", "should be a finite number above 0"));
        }
        Ok(edm)
    }

    pub(super) fn sigma_min(&self) -> f64 {
        self.sigma_min
    }

    /// The timesteps and the S + 1 levels of a job; `last`: the level after the last step, if there is noise left.
    pub(super) fn tables(
        &self,
        s: &Settings,
        steps: usize,
        last: f64,
    ) -> Result<(Vec<f64>, Vec<f64>), LoadError> {
        let shape = match s.or("sigma_schedule", String::from("karras"))?.as_str() {
            "karras" => SigmaShape::Karras,
            "exponential" => SigmaShape::Exponential,
            other => return Err(s.unsupported("sigma_schedule", format!("{other:?}"))),
        };
        s.only("rho", &[7.0.into()])?;
        let mut sigmas = shape.place(self.sigma_max, self.sigma_min, steps);
        sigmas.push(match s.or("final_sigmas_type", String::from("zero"))?.as_str() {
            "zero" => 0.0,
            "sigma_min" => last,
            other => return Err(s.unsupported("final_sigmas_type", format!("{other:?}"))),
        });
        sigmas.iter_mut().for_each(|sigma| *sigma = f64::from(*sigma as f32));
        let timesteps = sigmas[..steps].iter().map(|sigma| 0.25 * sigma.ln()).collect();
        Ok((timesteps, sigmas))
    }

    pub(super) fn init_noise_sigma(&self) -> f64 {
        self.sigma_max.hypot(1.0)
    }

    pub(super) fn input_scale(&self, sigma: f64) -> f64 {
        1.0 / sigma.hypot(self.sigma_data)
    }

    /// The estimate of the picture from latents x = picture + sigma * noise.
    pub(super) fn denoise(
        &self,
        prediction: &Tensor,
        sample: &Tensor,
        sigma: f64,
    ) -> candle_core::Result<Tensor> {
        let length = sigma.hypot(self.sigma_data);
        let out = sigma * self.sigma_data / length;
        let out = if self.sign == Sign::Plus { out } else { -out };
        (sample * (self.sigma_data / length).powi(2))? + (prediction * out)?
    }
}
