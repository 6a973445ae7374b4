//! One safetensors file. It is read tensor by tensor and not mapped: if a mapped file is truncated, a signal ends the
//! process, and if it is overwritten, the numbers change while they are read.

use std::fs::{File, Metadata as Status};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use safetensors::tensor::{Metadata, TensorInfo};

use super::header::{self, NoHeader};
use crate::sdxl::error::LoadError;

/// An open file and its parsed header. If another file is renamed to its path, the open file is still read.
pub(super) struct TensorFile {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// Offset of the tensors, in bytes.
    data: u64,
    state: FileState,
}

/// Changes if the file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    length: u64,
    modified: Option<SystemTime>,
}

impl From<Status> for FileState {
    fn from(status: Status) -> Self {
        Self { length: status.len(), modified: status.modified().ok() }
    }
}

impl TensorFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// If it cannot be read, is not safetensors, or is truncated.
    pub(super) fn open(path: PathBuf) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: path.clone(), source };
        let file = File::open(&path).map_err(unreadable)?;
        let state = FileState::from(file.metadata().map_err(unreadable)?);
        let (header, data) = header::read(&file, &path, state.length).map_err(|error| match error {
            NoHeader::Unreadable(source) => unreadable(source),
            NoHeader::Malformed(message) => LoadError::Malformed { path: path.clone(), message },
        })?;
        Ok(Self { path, file, header, data, state })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn header(&self) -> &Metadata {
        &self.header
    }

    /// Replaces the contents of `buffer` by a tensor's bytes.
    ///
    /// # Errors
    /// If the file cannot be read or has changed since it was opened.
    pub(super) fn read(&self, tensor: &TensorInfo, buffer: &mut Vec<u8>) -> Result<(), LoadError> {
        let (start, end) = tensor.data_offsets;
        buffer.resize(end - start, 0);
        let read = self.file.read_exact_at(buffer, self.data + start as u64);
        // Checked after the read: a later change is not in the bytes.
        let now = self.file.metadata().map(FileState::from);
        match (read, now) {
            (_, Ok(now)) if now != self.state => Err(LoadError::Changed { path: self.path.clone() }),
            (Err(source), _) | (_, Err(source)) => {
                Err(LoadError::Unreadable { path: self.path.clone(), source })
            }
            (Ok(()), Ok(_)) => Ok(()),
        }
    }
}
