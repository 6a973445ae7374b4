//! Errors of the load of a checkpoint.

use std::fmt::{self, Write};
use std::path::PathBuf;

/// Why a checkpoint could not be loaded. Each message names the file, and the key or tensor in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A required file or folder is missing.
    #[error("{}: not found ({what})", .path.display())]
    Missing {
        /// The expected path.
        path: PathBuf,
        /// What it is needed for.
        what: &'static str,
    },
    /// A file cannot be read.
    #[error("{}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The contents of a file are wrong: truncated, not JSON, not safetensors.
    #[error("{}: {message}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file was changed while it was in use.
    #[error("{}: the file has changed since it was opened: do not write to a file in use, put a new one in its place \
             with mv", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A setting is missing, or has a value that is not implemented.
    #[error("{}: \"{}\" {message}", .path.display(), Shown(.key))]
    Setting {
        /// The JSON file, or the weight file with metadata or marks.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with its value.
        message: String,
    },
    /// Tensors are missing, have another shape than the configuration says, or cannot be used.
    #[error("{0}")]
    Weights(Box<WeightReport>),
    /// The requested device cannot be used.
    #[error("device {device:?}: {message}")]
    Device {
        /// The requested name.
        device: String,
        /// The reason.
        message: String,
    },
    /// The device failed during the load.
    #[error("loading weights: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// All differences between a component's tensors and its configuration.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct WeightReport {
    /// The file, or the folder of the shards.
    pub file: PathBuf,
    /// Required tensors that no file has.
    pub missing: Vec<String>,
    /// Tensors that the configuration does not use.
    pub unexpected: Vec<String>,
    /// Name, expected shape, description of the tensor in the file.
    pub mismatched: Vec<(String, Vec<usize>, String)>,
    /// Name, and what is wrong with the tensor, as text after the name.
    pub unusable: Vec<(String, String)>,
    /// What to do, if more is known than what is wrong.
    pub hint: Option<&'static str>,
}

impl WeightReport {
    /// Whether the load must fail. Unexpected tensors are ignored, as in diffusers.
    pub fn is_fatal(&self) -> bool {
        !(self.missing.is_empty() && self.mismatched.is_empty() && self.unusable.is_empty())
    }
}

impl fmt::Display for WeightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The most tensors of each kind in the message: a wrong configuration can give thousands.
        const SHOWN: usize = 8;
        let others = self.missing.len() + self.mismatched.len() + self.unexpected.len();
        let what = match (self.unusable.is_empty(), others) {
            (false, 0) => "some tensors cannot be used",
            _ => "the tensors are not those that config.json describes",
        };
        write!(f, "{}: {what}", self.file.display())?;
        for (name, why) in self.unusable.iter().take(SHOWN) {
            write!(f, "; {} {why}", Shown(name))?;
        }
        if self.unusable.len() > SHOWN {
            write!(f, "; and {} more that cannot be used", self.unusable.len() - SHOWN)?;
        }
        for (kind, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            for name in names.iter().take(SHOWN) {
                write!(f, "; {kind} {}", Shown(name))?;
            }
            if names.len() > SHOWN {
                write!(f, "; and {} more {kind}", names.len() - SHOWN)?;
            }
        }
        for (name, wanted, found) in self.mismatched.iter().take(SHOWN) {
            write!(f, "; {} should be {wanted:?} and is {found}", Shown(name))?;
        }
        if self.mismatched.len() > SHOWN {
            write!(f, "; and {} more of another shape", self.mismatched.len() - SHOWN)?;
        }
        self.hint.map_or(Ok(()), |hint| write!(f, ". {hint}"))
    }
}

/// A name from a file, for messages: cut after [`Shown::MOST`] characters, and without control characters.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl Shown<'_> {
    /// No name in a usable file is as long.
    const MOST: usize = 200;
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, c) in self.0.chars().enumerate() {
            match c {
                _ if i == Self::MOST => return f.write_char('…'),
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_control_characters_escaped() {
        assert_eq!(Shown("a\nb").to_string(), "a\\nb");
        let report = WeightReport { missing: vec!["é".repeat(50_000)], ..WeightReport::default() };
        let text = report.to_string();
        assert!(text.ends_with(&format!("missing {}…", "é".repeat(200))), "{text}");
    }
}
