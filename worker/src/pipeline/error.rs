//! Errors of a job, by what the caller must do next.

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
    /// This attempt failed, for example out of memory or with numbers that are not finite: the job may be retried.
    #[error("{message}")]
    Fault {
        /// What happened.
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

impl From<candle_core::Error> for PipelineError {
    fn from(error: candle_core::Error) -> Self {
        let message = message_of(&error);
        // Out of memory is the only CUDA error after which the context still works.
        let driver =
            message.contains("CUDA_ERROR") || message.contains("CUDNN") || message.contains("CUBLAS");
        let memory = message.contains("OUT_OF_MEMORY") || message.contains("ALLOC_FAILED");
        if driver && !memory { Self::Device { message } } else { Self::Fault { message } }
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
}
