//! Errors of models on the Hub. Each message says what to do.

use std::io;
use std::path::PathBuf;

/// A model that could not be loaded from the Hub.
#[derive(Debug, thiserror::Error)]
#[error("{model}: {problem}")]
pub struct HubError {
    /// The requested name.
    pub model: String,
    /// The reason.
    pub problem: Problem,
}

/// The reason. No message contains a token or more of a URL than its host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The Hub does not know the model.
    #[error("{hub} has no model of this name, and there is no folder of this name")]
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
    /// The Hub refuses access.
    #[error("{hub} refuses access ({status}): {}", advice(*.with_token))]
    Refused {
        /// The Hub, or its mirror.
        hub: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// No response, or one that asks to retry later.
    #[error(
        "cannot download from {host}: {cause}. There is no such folder either: correct its path, set HF_ENDPOINT to a \
         mirror, or HF_HUB_OFFLINE=1 to use what the cache has"
    )]
    Unreachable {
        /// The host that did not respond.
        host: String,
        /// The network error.
        cause: String,
    },
    /// The file is not in the cache, and `HF_HUB_OFFLINE` is set.
    #[error(
        "HF_HUB_OFFLINE is set and {file} is not in the cache ({}): unset HF_HUB_OFFLINE for one run, or give a folder",
        .folder.display()
    )]
    Offline {
        /// The first file that is missing.
        file: String,
        /// Where it would be.
        folder: PathBuf,
    },
    /// The model has not all the files that a load needs.
    #[error("the model on {hub} has no {file}; it must be in the diffusers layout with safetensors weights")]
    Missing {
        /// The Hub, or its mirror.
        hub: String,
        /// The first file that is missing.
        file: String,
    },
    /// The contents of a file are not those that the Hub announced.
    #[error("the download of {file} was damaged and has been deleted ({message}): try again")]
    Damaged {
        /// Its name in the model.
        file: String,
        /// The difference.
        message: String,
    },
    /// The repository has no such file.
    #[error("the repository has no file {file}")]
    NoFile {
        /// The file's name.
        file: String,
    },
    /// The repository has no file with the weights of a LoRA.
    #[error("the repository has no LoRA or embedding, which is a file that ends in .safetensors")]
    NoLora,
    /// The repository has no file with the weights of a ControlNet.
    #[error(
        "the repository has no ControlNet, which is a config.json with diffusion_pytorch_model.safetensors, or a file \
         that ends in .safetensors"
    )]
    NoControlNet,
    /// The repository has no file of the usual name, and several others.
    #[error("the repository has several files ({}): name one of them, hf://OWNER/NAME/FILE", list(.files))]
    Several {
        /// Their names.
        files: Vec<String>,
    },
    /// The file is too large.
    #[error("{file} has {size} bytes, and at most {most} are allowed")]
    TooLarge {
        /// Its name in the repository.
        file: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        most: u64,
    },
    /// The file is not of the kind that is needed.
    #[error("{file} {message}")]
    Unfit {
        /// Its name in the repository.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The server is not a Hub.
    #[error("{host} does not behave like a Hub: {message}. Check HF_ENDPOINT")]
    NotAHub {
        /// The host that responded.
        host: String,
        /// What is wrong with it.
        message: String,
    },
    /// An environment variable has an unusable value.
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
        /// The system's error.
        source: io::Error,
    },
}

impl Problem {
    /// Whether a retry may succeed.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Converts an I/O error to [`Problem::Cache`].
    pub(super) fn cache(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Cache { path, source }
    }
}

/// How many names of files an error lists.
const LISTED: usize = 10;

fn list(files: &[String]) -> String {
    let more = if files.len() > LISTED { ", …" } else { "" };
    format!("{}{more}", files[..files.len().min(LISTED)].join(", "))
}

/// What to do about a 401 or 403. The Hub also answers 401 for models that do not exist.
fn advice(with_token: bool) -> &'static str {
    match with_token {
        true => {
            "accept the model's licence on its page, with the account of the token (HF_TOKEN); if it \
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
