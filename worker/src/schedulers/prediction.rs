//! `prediction_type`, which every class has.

use crate::sdxl::{LoadError, Settings};

/// What the UNet was trained to predict (Salimans and Ho 2022, appendix D).
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

    /// For samplers that divide by the share of the picture, sqrt(alphas_cumprod): refuses to take noise for a
    /// prediction where that share is 0.
    pub(super) fn check_signal(
        self,
        s: &Settings,
        mut alphas: impl Iterator<Item = f64>,
    ) -> Result<(), LoadError> {
        if self == Self::Epsilon && alphas.any(|alpha| alpha == 0.0) {
            let message = "is \"epsilon\", and with rescale_betas_zero_snr the first step has no signal, so noise says \
                           nothing about the picture: a model with zero terminal SNR needs \"v_prediction\"";
            return Err(s.wrong("prediction_type", message));
        }
        Ok(())
    }
}
