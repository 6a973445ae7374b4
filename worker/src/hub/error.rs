//! Why a model could not be had from the Hub, and what to do about it.

use std::io;
use std::path::PathBuf;

/// A model that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{model}: {problem}")]
pub struct HubError {
    /// As it was asked for.
    pub model: String,
    /// Why not.
    pub problem: Problem,
}

/// Why not. No message holds a token, or an address that is good for more than its host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The Hub does not know the model.
    #[error("{hub} has no such model, and there is no such folder here")]
    NoModel {
        /// The Hub, or its mirror.
        hub: String,
    },
    /// The Hub knows the model, but not that revision of it.
    #[error("the model on {hub} has no revision {revision:?}")]
    NoRevision {
        /// The Hub, or its mirror.
        hub: String,
        /// A branch, a tag or a commit.
        revision: String,
    },
    /// The model is for others.
    #[error("{hub} refuses it ({status}): {}", advice(*.with_token))]
    Refused {
        /// The Hub, or its mirror.
        hub: String,
        /// 401 or 403.
        status: u16,
        /// Whether there was a token.
        with_token: bool,
    },
    /// No answer, or one that says to come back later.
    #[error(
        "cannot download from {host}: {cause}. Give a folder instead, set HF_ENDPOINT to a mirror, or \
         HF_HUB_OFFLINE=1 to use what the cache has"
    )]
    Unreachable {
        /// Who did not answer.
        host: String,
        /// What the network says.
        cause: String,
    },
    /// Not in the cache, and nothing else may be asked.
    #[error(
        "HF_HUB_OFFLINE is set, and {file} is not in the cache ({}): unset it for one run, or give a folder",
        .folder.display()
    )]
    Offline {
        /// The first file that is missing.
        file: String,
        /// Where it would be.
        folder: PathBuf,
    },
    /// The model is there, but is not one that can be loaded.
    #[error("{hub} has no {file} in it; it must be in the diffusers layout, with safetensors weights")]
    Missing {
        /// The Hub, or its mirror.
        hub: String,
        /// The first file that is missing.
        file: String,
    },
    /// A file is not the one that the Hub announced.
    #[error("{file} came damaged and was thrown away ({message}): try again")]
    Damaged {
        /// Its name in the model.
        file: String,
        /// The difference.
        message: String,
    },
    /// Something answers that is no Hub.
    #[error("the answer of {host} is not that of a Hub: {message}")]
    NotAHub {
        /// Who answered.
        host: String,
        /// What is wrong with it.
        message: String,
    },
    /// A variable of the environment is of no use.
    #[error("{name} {message}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The cache cannot be read or written.
    #[error("{}: {source}{}", .path.display(), remedy(.source))]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Problem {
    /// Whether the same may go well in a moment.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// For [`Problem::Cache`].
    pub(super) fn cache(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Cache { path, source }
    }
}

/// The Hub answers 401 also for models that it does not have.
fn advice(with_token: bool) -> &'static str {
    match with_token {
        true => {
            "accept the model's licence on its page, with the account that the token (HF_TOKEN) is of; if it \
             has none, check the name"
        }
        false => {
            "if it is gated or private, accept its licence on its page and set HF_TOKEN; else check the name: \
             there is no such folder here"
        }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; what was downloaded is kept: make room and start again, or set HF_HOME to a folder elsewhere"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; set HF_HOME to a folder that can be written"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        let full = Problem::cache("/cache/blobs/x")(io::ErrorKind::StorageFull.into()).to_string();
        assert!(full.starts_with("/cache/blobs/x: ") && full.contains("make room"), "{full}");
        let denied = Problem::cache("/cache")(io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(denied.contains("HF_HOME"), "{denied}");
    }
}
