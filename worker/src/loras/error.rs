//! Why a LoRA, an embedding or a ControlNet could not be downloaded.

use glimpse_shared::request::LoraPath;

use crate::{hub::Problem, pipeline::PipelineError};

/// Why a LoRA could not be downloaded. A client reads the text: it names no folder of this machine, and nothing of what
/// is at a forbidden address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoraError {
    /// The request is at fault: the job fails without a retry.
    #[error("{0}")]
    Bad(String),
    /// The same, of an embedding.
    #[error("{0}")]
    BadEmbedding(String),
    /// The same, of a ControlNet.
    #[error("{0}")]
    BadControlNet(String),
    /// This attempt failed: the job may be tried again, by another worker.
    #[error("{0}")]
    Fault(String),
}

impl LoraError {
    /// The same, with the LoRA's name before it.
    pub fn of(self, path: &LoraPath) -> Self {
        match self {
            Self::Bad(why) => Self::Bad(format!("{path}: {why}")),
            Self::BadEmbedding(why) => Self::BadEmbedding(format!("{path}: {why}")),
            Self::BadControlNet(why) => Self::BadControlNet(format!("{path}: {why}")),
            Self::Fault(why) => Self::Fault(format!("{path}: {why}")),
        }
    }

    /// The same, of an embedding.
    pub fn of_embedding(self) -> Self {
        match self {
            Self::Bad(why) => Self::BadEmbedding(why),
            other => other,
        }
    }

    /// The same, of a ControlNet.
    pub fn of_controlnet(self) -> Self {
        match self {
            Self::Bad(why) => Self::BadControlNet(why),
            other => other,
        }
    }

    /// Whether the request is at fault.
    pub fn is_bad(&self) -> bool {
        !matches!(self, Self::Fault(_))
    }

    /// The cache cannot be read or written. The log has the reason, because it names a folder.
    pub fn cache(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "the cache of LoRAs cannot be used: make room, or name another folder with --lora-cache");
        Self::Fault("the cache of LoRAs of this worker cannot be used".to_owned())
    }
}

impl From<Problem> for LoraError {
    fn from(problem: Problem) -> Self {
        let bad = |text: &str| Self::Bad(text.to_owned());
        match problem {
            Problem::NoModel { .. } => bad("the Hub has no repository of this name"),
            Problem::NoRevision { revision, .. } => {
                Self::Bad(format!("the repository has no revision {revision:?}"))
            }
            Problem::Refused { with_token: false, .. } => bad(
                "the Hub refuses access: the repository is gated or private, or there is none of this name",
            ),
            Problem::Refused { with_token: true, .. } => bad(
                "the Hub refuses access: the account of this worker may not read the repository, or there is none \
                     of this name",
            ),
            Problem::NoFile { .. }
            | Problem::NoLora
            | Problem::NoControlNet
            | Problem::Several { .. }
            | Problem::TooLarge { .. }
            | Problem::Unfit { .. } => Self::Bad(problem.to_string()),
            Problem::Offline { file, .. } => Self::Bad(format!(
                "this worker does not ask the Hub (HF_HUB_OFFLINE), and its cache does not have {file}"
            )),
            Problem::Unreachable { .. } => Self::Fault("the Hub does not answer".to_owned()),
            Problem::Damaged { .. } => Self::Fault(problem.to_string()),
            Problem::Cache { .. } => Self::cache(problem),
            other => {
                tracing::error!(problem = %other, "the Hub cannot be used for LoRAs");
                Self::Fault("this worker cannot use the Hub".to_owned())
            }
        }
    }
}

impl From<LoraError> for PipelineError {
    fn from(error: LoraError) -> Self {
        match error {
            LoraError::Bad(why) => Self::bad("loras", why),
            LoraError::BadEmbedding(why) => Self::bad("embeddings", why),
            LoraError::BadControlNet(why) => Self::bad("controlnets", why),
            LoraError::Fault(message) => Self::Fault { message },
        }
    }
}
