//! Why a checkpoint could not be loaded.

use std::fmt;
use std::path::PathBuf;

/// Everything that can be wrong with a checkpoint. Each message names the file, and the key or tensor in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file or folder that must be there is not.
    #[error("{}: not found ({what})", .path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What it is needed for.
        what: &'static str,
    },
    /// A file is there but cannot be read.
    #[error("{}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is there but is not what its name says: cut, not JSON, not safetensors.
    #[error("{}: {message}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file was written to while it was in use.
    #[error("{}: the file has changed since it was opened: do not write to a file in use, put a new one in its place \
             with mv", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A setting has a value that this worker does not implement, or none where one is needed.
    #[error("{}: \"{key}\" {message}", .path.display())]
    Setting {
        /// The JSON file, or the file of weights that says something about itself.
        path: PathBuf,
        /// The key in it.
        key: String,
        /// What is wrong with its value.
        message: String,
    },
    /// Tensors are missing, of another shape than the configuration says, or cannot be used.
    #[error("{0}")]
    Weights(Box<WeightReport>),
    /// The requested device cannot be used.
    #[error("device {device:?}: {message}")]
    Device {
        /// As it was asked for.
        device: String,
        /// Why not.
        message: String,
    },
    /// The device failed while weights were moved to it.
    #[error("loading weights: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// How a component's tensors differ from what its configuration asks for; all differences at once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct WeightReport {
    /// The file, or the folder of a sharded one.
    pub file: PathBuf,
    /// Names that the configuration asks for and no file has.
    pub missing: Vec<String>,
    /// Names that a file has and the configuration does not ask for.
    pub unexpected: Vec<String>,
    /// Name, shape asked for, shape and type found.
    pub mismatched: Vec<(String, Vec<usize>, String)>,
    /// Name, and what is wrong with its numbers, to go after the name.
    pub unusable: Vec<(String, String)>,
}

impl WeightReport {
    /// Whether something that is needed is not there. What is superfluous is not used, as in diffusers.
    pub fn is_fatal(&self) -> bool {
        !(self.missing.is_empty() && self.mismatched.is_empty() && self.unusable.is_empty())
    }
}

impl fmt::Display for WeightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A wrong configuration can list thousands; the first few tell which.
        const SHOWN: usize = 8;
        let others = self.missing.len() + self.mismatched.len() + self.unexpected.len();
        let what = match (self.unusable.is_empty(), others) {
            (false, 0) => "some tensors cannot be used",
            _ => "the tensors are not those that config.json describes",
        };
        write!(f, "{}: {what}", self.file.display())?;
        for (name, why) in self.unusable.iter().take(SHOWN) {
            write!(f, "; {name} {why}")?;
        }
        if self.unusable.len() > SHOWN {
            write!(f, "; and {} more that cannot be used", self.unusable.len() - SHOWN)?;
        }
        for (kind, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            for name in names.iter().take(SHOWN) {
                write!(f, "; {kind} {name}")?;
            }
            if names.len() > SHOWN {
                write!(f, "; and {} more {kind}", names.len() - SHOWN)?;
            }
        }
        for (name, wanted, found) in self.mismatched.iter().take(SHOWN) {
            write!(f, "; {name} should be {wanted:?} and is {found}")?;
        }
        if self.mismatched.len() > SHOWN {
            write!(f, "; and {} more of another shape", self.mismatched.len() - SHOWN)?;
        }
        Ok(())
    }
}
