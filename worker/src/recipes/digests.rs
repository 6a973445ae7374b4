//! SHA-256 of large files, computed on threads of their own: no picture waits for one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::SystemTime,
};

use sha2::{Digest, Sha256};

/// How many digests are kept. When there are more, all are forgotten.
const MOST_KEPT: usize = 1000;
/// How much of a file is read at once, in bytes.
const PIECE: usize = 1 << 20;
/// How many digits of the digest of its tensors a LoRA is known by.
const AUTOV3_DIGITS: usize = 12;

/// The digests of a file, or of several that are one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// SHA-256 (hex) of the file, or of the files in a row.
    pub sha256: String,
    /// The first 12 digits of the SHA-256 of its tensors alone, if it is one file.
    pub autov3: Option<String>,
}

/// Digests that are known or being computed.
#[derive(Debug, Clone, Default)]
pub struct Digests {
    kept: Arc<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    digests: Mutex<BTreeMap<Vec<FileState>, State>>,
    changed: Condvar,
    /// Held while files are read: one digest after the other, so that they take one core.
    reading: Mutex<()>,
}

/// A file as it was when its digest was wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct FileState {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
}

#[derive(Debug, Clone)]
enum State {
    Reading,
    Known(FileDigest),
    Failed,
}

impl Digests {
    /// Begins to compute the digest of these files, unless it is known.
    pub fn begin(&self, files: &[PathBuf]) {
        let Some(key) = states(files) else { return };
        {
            let mut digests = lock(&self.kept.digests);
            if digests.contains_key(&key) {
                return;
            }
            if digests.len() >= MOST_KEPT {
                digests.clear();
            }
            digests.insert(key.clone(), State::Reading);
        }
        let (kept, files, of_thread) = (self.kept.clone(), files.to_vec(), key.clone());
        let begun = thread::Builder::new().name("digest".to_owned()).spawn(move || {
            let digest = {
                let _alone = lock(&kept.reading);
                of_files(&files)
            };
            let state = digest.map(State::Known).unwrap_or_else(|error| {
                tracing::warn!(%error, "the digest of a file could not be computed: recipes are without it");
                State::Failed
            });
            kept.set(of_thread, state);
        });
        if begun.is_err() {
            self.kept.set(key, State::Failed);
        }
    }

    /// As [`Digests::begin`], but files of at most `most` bytes together are read before it returns.
    pub fn begin_or_wait(&self, files: &[PathBuf], most: u64) {
        let lengths = states(files).map(|files| files.iter().map(|file| file.length).sum::<u64>());
        match lengths.is_some_and(|length| length <= most) {
            true => drop(self.wait(files)),
            false => self.begin(files),
        }
    }

    /// The digest of these files, if it is known by now.
    pub fn known(&self, files: &[PathBuf]) -> Option<FileDigest> {
        match lock(&self.kept.digests).get(&states(files)?)? {
            State::Known(digest) => Some(digest.clone()),
            State::Reading | State::Failed => None,
        }
    }

    /// Computes the digest of these files, or waits for it; `None` if they cannot be read. Blocks the thread.
    pub fn wait(&self, files: &[PathBuf]) -> Option<FileDigest> {
        let key = states(files)?;
        self.begin(files);
        let mut digests = lock(&self.kept.digests);
        loop {
            match digests.get(&key)? {
                State::Known(digest) => return Some(digest.clone()),
                State::Failed => return None,
                State::Reading => {
                    digests = self.kept.changed.wait(digests).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Kept {
    fn set(&self, key: Vec<FileState>, state: State) {
        lock(&self.digests).insert(key, state);
        self.changed.notify_all();
    }
}

/// What is behind the lock is whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files as they are now; `None` without files, or if one is gone.
fn states(files: &[PathBuf]) -> Option<Vec<FileState>> {
    let state = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some(FileState { path: path.clone(), length: found.len(), modified: found.modified().ok() })
    };
    if files.is_empty() { None } else { files.iter().map(state).collect() }
}

fn of_files(files: &[PathBuf]) -> io::Result<FileDigest> {
    let (mut whole, mut tensors) = (Sha256::new(), Sha256::new());
    for file in files {
        read(file, &mut whole, &mut tensors)?;
    }
    let autov3 = (files.len() == 1).then(|| hex(tensors).get(..AUTOV3_DIGITS).map(str::to_owned)).flatten();
    Ok(FileDigest { sha256: hex(whole), autov3 })
}

/// Reads a file: all of it into `whole`, and what follows the header of a safetensors file into `tensors`.
fn read(path: &Path, whole: &mut Sha256, tensors: &mut Sha256) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    whole.update(length);
    let mut header = u64::from_le_bytes(length);
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        whole.update(bytes);
        let skipped = usize::try_from(header).unwrap_or(usize::MAX).min(read);
        header -= skipped as u64;
        tensors.update(bytes.get(skipped..).unwrap_or_default());
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_file_and_of_its_tensors() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.safetensors");
        fs::write(&file, b"\x02\0\0\0\0\0\0\0{}tensors").unwrap();
        let digests = Digests::default();
        let files = [file.clone()];
        assert_eq!(digests.known(&files), None);
        let digest = digests.wait(&files).unwrap();
        assert_eq!(digests.known(&files).as_ref(), Some(&digest));
        let of = |bytes: &[u8]| hex(Sha256::new_with_prefix(bytes));
        assert_eq!(digest.sha256, of(b"\x02\0\0\0\0\0\0\0{}tensors"));
        assert_eq!(digest.autov3.as_deref(), Some(&of(b"tensors")[..12]));

        fs::write(&file, b"\x02\0\0\0\0\0\0\0{}other tensors").unwrap();
        assert_eq!(digests.known(&files), None, "another file at the same path");
        assert_eq!(digests.wait(&[folder.path().join("none")]), None);
        assert_eq!(digests.wait(&[]), None);
        let both = digests.wait(&[file.clone(), file]).unwrap();
        assert_eq!(both.autov3, None);
    }
}
