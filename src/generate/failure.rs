//! Why there is no picture, by what the caller's script should do about it.

use std::{fmt::Display, process::ExitCode};

use glimpse_shared::{request::FieldError, shutdown::Signal};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A defect, or a machine that is broken.
    #[error("{0}")]
    Unforeseen(String),
    /// The input is wrong, or the server refuses it: the same again will not help.
    #[error("{0}")]
    BadInput(String),
    /// The server cannot be reached.
    #[error("cannot reach {server}: {cause}")]
    Unreachable {
        /// Its address.
        server: String,
        /// Why not.
        cause: String,
    },
    /// The job ended without a picture.
    #[error("the job ended without a picture: {0}")]
    Job(String),
    /// Ctrl-C, or SIGTERM.
    #[error("interrupted by {0}")]
    Interrupted(Signal),
}

impl Failure {
    /// For [`Failure::Unforeseen`], from any error.
    pub fn unforeseen(error: impl Display) -> Self {
        Self::Unforeseen(error.to_string())
    }

    /// Names each wrong field, and the flag that sets it.
    pub fn fields(errors: &[FieldError]) -> Self {
        let lines: Vec<String> = errors.iter().map(|error| line(&error.field(), &error.msg)).collect();
        Self::BadInput(lines.join("; "))
    }

    /// The exit code that the manual gives.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Unforeseen(_) => 1,
            Self::BadInput(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Job(_) => 4,
            Self::Interrupted(signal) => signal.exit_code(),
        })
    }
}

/// `field (--flag): what is wrong`.
pub fn line(field: &str, message: &str) -> String {
    match field {
        "num_inference_steps" => format!("{field} (--steps): {message}"),
        "width" | "height" | "seed" | "image" | "mask" | "strength" => {
            format!("{field} (--{field}): {message}")
        }
        "negative_prompt" => format!("{field} (--negative-prompt): {message}"),
        "guidance_rescale" => format!("{field} (--guidance-rescale): {message}"),
        "clip_skip" => format!("{field} (--clip-skip): {message}"),
        "loras" => format!("{field} (--lora): {message}"),
        _ => format!("{field}: {message}"),
    }
}
