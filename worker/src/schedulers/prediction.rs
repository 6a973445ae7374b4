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
}
