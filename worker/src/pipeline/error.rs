//! Errors of a job, by what the caller must do next.

use super::driver_status::{Meaning, meaning};

/// Why a pipeline could not continue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    /// The request needs something that this model cannot do: the job fails without a retry.
    #[error("{field}: {message}")]
    BadRequest {
        /// Which of [`super::Inputs`]' fields.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// This attempt failed, for example with numbers that are not finite: the job may be retried.
    #[error("{message}")]
    Fault {
        /// What happened.
        message: String,
    },
    /// The device had too little memory left for this attempt: the job may be retried, on a larger device.
    #[error("{message}")]
    OutOfMemory {
        /// What happened, and which size would fit if that is known.
        message: String,
    },
    /// The job was interrupted ([`super::Interrupt`]).
    #[error("the job was stopped")]
    Interrupted,
    /// The device and everything on it are unusable: the process must end.
    #[error("device lost: {message}")]
    Device {
        /// What happened.
        message: String,
    },
}

impl PipelineError {
    /// A [`PipelineError::BadRequest`].
    pub fn bad(field: &'static str, message: impl Into<String>) -> Self {
        Self::BadRequest { field, message: message.into() }
    }

    pub(super) fn fault(message: impl Into<String>) -> Self {
        Self::Fault { message: message.into() }
    }
}

impl PipelineError {
    /// The error for a message of the device, or of a panic below the pipeline: the binding to CUDA panics where it has
    /// no other way to report an error.
    pub fn of_device(message: String) -> Self {
        match meaning(&message) {
            Some(Meaning::OutOfMemory) => Self::OutOfMemory { message },
            Some(Meaning::Lost) => Self::Device { message },
            Some(Meaning::Refused) | None => Self::Fault { message },
        }
    }
}

impl From<candle_core::Error> for PipelineError {
    fn from(error: candle_core::Error) -> Self {
        Self::of_device(message_of(&error))
    }
}

/// candle's message without its backtrace, because clients read it.
fn message_of(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => message_of(inner),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::backtrace::Backtrace;

    use super::*;

    #[test]
    fn a_client_reads_no_backtrace() {
        let inner = Box::new(candle_core::Error::Msg("out of numbers".to_owned()));
        let backtrace = Box::new(Backtrace::force_capture());
        let fault = PipelineError::from(candle_core::Error::WithBacktrace { inner, backtrace });
        assert_eq!(fault, PipelineError::fault("out of numbers"));
    }

    #[test]
    fn an_error_of_the_driver_ends_a_job_or_the_process() {
        let error = |message: &str| PipelineError::from(candle_core::Error::Cuda(message.into()));
        let memory = r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#;
        assert_eq!(error(memory), PipelineError::OutOfMemory { message: memory.to_owned() });
        let shape = "CudnnError(CUDNN_STATUS_NOT_SUPPORTED)";
        assert_eq!(error(shape), PipelineError::fault(shape));
        let lost = r#"DriverError(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure")"#;
        assert_eq!(error(lost), PipelineError::Device { message: lost.to_owned() });
        let panic = format!("panic: called `Result::unwrap()` on an `Err` value: {lost}");
        assert_eq!(PipelineError::of_device(panic.clone()), PipelineError::Device { message: panic });
        let defect = "panic: index out of bounds".to_owned();
        assert_eq!(PipelineError::of_device(defect.clone()), PipelineError::Fault { message: defect });
    }
}
