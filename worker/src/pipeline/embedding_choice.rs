//! Which embeddings a job uses.

use std::ffi::OsStr;
use std::path::PathBuf;

/// An embedding's file and its words.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingChoice {
    /// Its name in the request, for messages: the client must not see its path.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What stands in a prompt: one token for all vectors of the file, or one for each of them.
    pub tokens: Vec<String>,
}

impl EmbeddingChoice {
    /// An embedding that is named like its file, and whose token is this name without its ending.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = |name: Option<&OsStr>| name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name: text(path.file_name()), tokens: vec![text(path.file_stem())], path }
    }
}
