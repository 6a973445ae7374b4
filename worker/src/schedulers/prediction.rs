//! The setting `prediction_type`, which every class has.

use crate::sdxl::{LoadError, Settings};

/// What the UNet predicts (Salimans and Ho 2022, appendix D).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity alpha * noise - sigma * picture.
    Velocity,
    /// The picture.
    Sample,
}

impl Prediction {
    pub(super) fn read(s: &Settings) -> Result<Self, LoadError> {
        match s.or("prediction_type", String::from("epsilon"))?.as_str() {
            "epsilon" => Ok(Self::Epsilon),
            "v_prediction" => Ok(Self::Velocity),
            "sample" | "original_sample" => Ok(Self::Sample),
            other => Err(s.unsupported("prediction_type", format!("{other:?}"))),
        }
    }

    /// For samplers that divide by sqrt(alphas_cumprod).
    ///
    /// # Errors
    /// If the UNet predicts noise and one of `alphas` is 0.
    pub(super) fn check_signal(
        self,
        s: &Settings,
        mut alphas: impl Iterator<Item = f64>,
    ) -> Result<(), LoadError> {
        if self == Self::Epsilon && alphas.any(|alpha| alpha == 0.0) {
            let message = "is \"epsilon\", but with rescale_betas_zero_snr the first step has no signal, and this \
                           sampler would divide by 0: a model with zero terminal SNR needs \"v_prediction\"";
            return Err(s.wrong("prediction_type", message));
        }
        Ok(())
    }
}
