//! The reasons for no picture, one for each exit code.

use std::{fmt::Display, process::ExitCode};

use glimpse_shared::{request::FieldError, shutdown::Signal};
use serde_json::{Value, json};

/// The reason for no picture.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A defect, or a broken machine.
    #[error("{0}")]
    Unforeseen(String),
    /// The input is wrong, or the server refuses it.
    #[error("{0}")]
    BadInput(String),
    /// The server cannot be reached.
    #[error(
        "cannot reach {server}: {cause}; check its address (--server, GLIMPSE_SERVER) and whether it runs"
    )]
    Unreachable {
        /// Its address.
        server: String,
        /// The error of the connection.
        cause: String,
    },
    /// The job ended without a picture.
    #[error("the job ended without a picture: {0}")]
    Job(String),
    /// Interrupted with Ctrl-C or SIGTERM.
    #[error("interrupted by {0}")]
    Interrupted(Signal),
}

impl Failure {
    /// A [`Failure::Unforeseen`] from any error.
    pub fn unforeseen(error: impl Display) -> Self {
        Self::Unforeseen(error.to_string())
    }

    /// A [`Failure::BadInput`] that names each wrong field and its flag.
    pub fn fields(errors: &[FieldError]) -> Self {
        let lines: Vec<String> = errors.iter().map(|error| at(&json!(error.loc), &error.msg)).collect();
        Self::BadInput(lines.join("; "))
    }

    /// The exit code, as [`EXIT_CODES`] says.
    pub fn code(&self) -> u8 {
        match self {
            Self::Unforeseen(_) => 1,
            Self::BadInput(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Job(_) => 4,
            Self::Interrupted(signal) => signal.exit_code(),
        }
    }

    /// The same for `main`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// The exit codes of every command that is a client.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 unforeseen error, 2 wrong input or refused by the server, 3 server \
                              not reachable, 4 the job failed, 130 Ctrl-C, 143 SIGTERM. A second signal ends it at once.";

/// Fields of a request with a differently named flag.
const OTHERS: [(&str, &str); 4] = [
    ("num_inference_steps", "steps"),
    ("loras", "lora"),
    ("controlnets", "controlnet"),
    ("embeddings", "embedding"),
];
/// Fields with a flag of the same name (with hyphens).
const FLAGS: [&str; 28] = [
    "negative_prompt",
    "width",
    "height",
    "guidance_scale",
    "guidance_rescale",
    "clip_skip",
    "prompt_syntax",
    "long_prompt",
    "image",
    "mask",
    "strength",
    "denoising_end",
    "aesthetic_score",
    "negative_aesthetic_score",
    "padding_mask_crop",
    "hires",
    "seed",
    "seeds",
    "num_images",
    "scheduler",
    "scheduler_config",
    "sigmas",
    "timesteps",
    "eta",
    "preset",
    "preview_every",
    "preview_source",
    "output_format",
];

/// `field (--flag): what is wrong`, for a place in a request, a list as JSON. A member of an entry of a list is named by its
/// path, `controlnets[0].start`.
pub fn at(loc: &Value, message: &str) -> String {
    let field = loc[1].as_str().unwrap_or("body");
    match (&loc[2], loc[3].as_str()) {
        (Value::String(member), _) => line(field, field, &format!("{member}: {message}")),
        (Value::Number(index), Some(member)) => line(field, &format!("{field}[{index}].{member}"), message),
        (Value::Number(index), None) => line(field, &format!("{field}[{index}]"), message),
        _ => line(field, field, message),
    }
}

/// `path (--flag): what is wrong`, with the flag of a field.
fn line(field: &str, path: &str, message: &str) -> String {
    let other = OTHERS.iter().find(|(name, _)| *name == field).map(|(_, flag)| (*flag).to_owned());
    match other.or_else(|| FLAGS.contains(&field).then(|| field.replace('_', "-"))) {
        Some(flag) => format!("{path} (--{flag}): {message}"),
        None => format!("{path}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_member_and_the_flag() {
        for (loc, line) in [
            (json!(["body", "seed"]), "seed (--seed): wrong"),
            (json!(["body", "hires", "scale"]), "hires (--hires): scale: wrong"),
            (json!(["body", "controlnets", 1, "start"]), "controlnets[1].start (--controlnet): wrong"),
            (json!(["body", "seeds", 2]), "seeds[2] (--seeds): wrong"),
            (json!(["body", 7]), "body: wrong"),
            (json!(["body"]), "body: wrong"),
        ] {
            assert_eq!(at(&loc, "wrong"), line);
        }
    }
}
