//! What a comparison found.

use std::time::Duration;

use candle_core::DType;

use crate::sdxl::ops::Op;

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The operation.
    pub op: Op,
    /// Its shape.
    pub shape: String,
    /// The dtype of the model.
    pub dtype: DType,
    /// The largest error of a right form.
    pub tolerance: f64,
    /// What was found.
    pub finding: Finding,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// The device's own form gave a result.
    Compared {
        /// Its distance from the reference; infinite if a number is not finite.
        error: f64,
        /// The time of the device's own form.
        own: Duration,
        /// The time of the portable form; `None` if it cannot run here.
        portable: Option<Duration>,
    },
    /// The device's own form failed, and the device still works.
    Failed {
        /// Why.
        message: String,
    },
    /// The forms could not be compared, for example because there is too little memory.
    Skipped {
        /// Why.
        message: String,
    },
}

impl Row {
    /// Whether the device's own form is wrong here. NaN counts as wrong.
    pub fn is_wrong(&self) -> bool {
        match self.finding {
            Finding::Compared { error, .. } => error.is_nan() || error > self.tolerance,
            Finding::Failed { .. } => true,
            Finding::Skipped { .. } => false,
        }
    }

    /// The error, if there is one and it is finite.
    pub fn error(&self) -> Option<f64> {
        match self.finding {
            Finding::Compared { error, .. } => Some(error).filter(|error| error.is_finite()),
            _ => None,
        }
    }

    /// Where it was found, for messages: `2x320x128x128, f16`.
    pub fn place(&self) -> String {
        format!("{}, {}", self.shape, self.dtype.as_str())
    }
}
