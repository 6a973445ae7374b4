//! Why a measurement has no result.

use crate::encoded::EncodeError;
use crate::pipeline::PipelineError;
use crate::sdxl::LoadError;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The device cannot be used here.
    #[error("{0}")]
    Device(LoadError),
    /// The measurement failed.
    #[error("{0}")]
    Failed(String),
}

impl From<LoadError> for MeasureError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Device { .. } => Self::Device(error),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<PipelineError> for MeasureError {
    fn from(error: PipelineError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<candle_core::Error> for MeasureError {
    fn from(error: candle_core::Error) -> Self {
        PipelineError::from(error).into()
    }
}

impl From<EncodeError> for MeasureError {
    fn from(error: EncodeError) -> Self {
        Self::Failed(error.to_string())
    }
}
