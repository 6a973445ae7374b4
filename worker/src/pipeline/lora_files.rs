//! The parsed LoRA files: read once, and again when they have changed.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use crate::sdxl::LoadError;
use crate::sdxl::lora::{LoraFile, settings_beside};

/// The most bytes of parsed files in the cache. The files of the active set are always kept.
const CACHE_BYTES: usize = 1 << 30;

/// Identifies one state of a file, and of the file with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    file: FileState,
    settings: Option<FileState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileState {
    inode: u64,
    modified: Option<SystemTime>,
    length: u64,
}

impl FileState {
    fn of(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::metadata(path)?;
        Ok(Self { inode: file.ino(), modified: file.modified().ok(), length: file.len() })
    }
}

impl Stamp {
    /// The state of a file now.
    ///
    /// # Errors
    /// If it is missing or its folder cannot be read.
    pub(super) fn of(path: &Path) -> Result<Self, LoadError> {
        let file = FileState::of(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => LoadError::Missing { path: path.into(), what: "a LoRA" },
            _ => LoadError::Unreadable { path: path.into(), source },
        })?;
        Ok(Self { path: path.into(), file, settings: FileState::of(&settings_beside(path)).ok() })
    }
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct LoraFiles(RefCell<Vec<(Stamp, Rc<LoraFile>)>>);

impl LoraFiles {
    /// The parsed file, from the cache if the file has not changed.
    pub(super) fn open(&self, path: &Path) -> Result<(Stamp, Rc<LoraFile>), LoadError> {
        let stamp = Stamp::of(path)?;
        let mut files = self.0.borrow_mut();
        files.retain(|(kept, _)| kept.path != stamp.path || *kept == stamp);
        let file = match files.iter().position(|(kept, _)| *kept == stamp) {
            Some(index) => files.remove(index).1,
            None => Rc::new(LoraFile::open(path)?),
        };
        // Newest last.
        files.push((stamp.clone(), file.clone()));
        let mut size: usize = files.iter().map(|(_, file)| file.size()).sum();
        while size > CACHE_BYTES && files.len() > 1 {
            size -= files.remove(0).1.size();
        }
        Ok((stamp, file))
    }
}

/// An error message without the file's folder.
pub(super) fn message(error: &LoadError, path: &Path) -> String {
    if let LoadError::Missing { .. } = error {
        return "not found".to_owned();
    }
    let text = error.to_string();
    let start = format!("{}: ", path.display());
    text.strip_prefix(&start).unwrap_or(&text).to_owned()
}
