//! The folder of downloaded LoRAs. Several workers may share it. Its size is limited: the least recently used files are
//! deleted first, but none that a job in hand uses.
//!
//! `hub` is a cache of the Hub's layout, `urls` has the files of URLs. `.in-use` has an empty file for each of them: its
//! time is that of the last use, and a job that uses the file has locked it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::entries::{self, Entry};

/// The folder of downloaded LoRAs.
#[derive(Debug, Clone)]
pub struct Shelf {
    root: PathBuf,
    /// The most bytes.
    most: u64,
}

/// A file that is not deleted before this is dropped.
#[derive(Debug)]
pub struct Pin {
    /// Locked.
    _mark: File,
}

impl Shelf {
    /// Opens the folder, and creates it if it is missing. It may have `most` bytes.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn open(root: &Path, most: u64) -> io::Result<Self> {
        for folder in ["hub", "urls", ".in-use", ".locks"] {
            fs::create_dir_all(root.join(folder))?;
        }
        Ok(Self { root: root.canonicalize()?, most })
    }

    /// The cache of the Hub's files.
    pub fn hub(&self) -> PathBuf {
        self.root.join("hub")
    }

    /// The folder of the files of URLs.
    pub fn urls(&self) -> PathBuf {
        self.root.join("urls")
    }

    /// The file that is locked during the download of a URL's file. There are 4096: one for each URL would never be
    /// deleted, and clients choose the URLs.
    pub fn lock_of(&self, key: &str) -> PathBuf {
        self.root.join(".locks").join(key.get(..3).unwrap_or(key))
    }

    /// Marks a file as used now, and keeps it. `None` if it does not exist any more.
    ///
    /// # Errors
    /// If the mark cannot be written.
    pub fn pin(&self, file: &Path) -> io::Result<Option<Pin>> {
        let Ok(real) = file.canonicalize() else { return Ok(None) };
        let path = self.mark_of(&real);
        loop {
            let mark = File::options().create(true).append(true).open(&path)?;
            match mark.lock_shared() {
                Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
                _ => {}
            }
            // Another process may have deleted file and mark just before.
            if fs::metadata(&path).is_ok_and(|now| mark.metadata().is_ok_and(|ours| ours.ino() == now.ino()))
            {
                mark.set_modified(SystemTime::now())?;
                return Ok(real.is_file().then_some(Pin { _mark: mark }));
            }
        }
    }

    /// Deletes the least recently used files until the rest has as many bytes as the folder may have.
    pub fn make_room(&self) {
        let mut entries = entries::all(&self.hub(), &self.urls(), |key| self.lock_of(key));
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        entries.sort_by_cached_key(|entry| self.last_use(entry));
        for entry in entries {
            if bytes <= self.most {
                return;
            }
            match self.delete(&entry) {
                Ok(true) => bytes -= entry.bytes,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(file = %entry.path.display(), %error, "a LoRA in the cache could not be deleted");
                }
            }
        }
        if bytes > self.most {
            tracing::warn!(bytes, most = self.most, "the LoRAs in use need more room than the cache has");
        }
    }

    fn last_use(&self, entry: &Entry) -> SystemTime {
        let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
        time(&self.mark_of(&entry.path)).or_else(|| time(&entry.path)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Deletes an entry that no job uses and no process downloads. Returns whether it did.
    fn delete(&self, entry: &Entry) -> io::Result<bool> {
        let mark = self.mark_of(&entry.path);
        let (Some(_in_use), Some(_download)) = (try_lock(&mark)?, try_lock(&entry.lock)?) else {
            return Ok(false);
        };
        entry.delete()?;
        tracing::info!(file = %entry.path.display(), bytes = entry.bytes, "a LoRA was deleted from the cache");
        fs::remove_file(mark)?;
        Ok(true)
    }

    fn mark_of(&self, file: &Path) -> PathBuf {
        let name = file.strip_prefix(&self.root).unwrap_or(file).as_os_str();
        self.root.join(".in-use").join(key(name.as_encoded_bytes()))
    }
}

/// A name for a file: the SHA-256 of a text, in hexadecimal digits.
pub fn key(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Locks a file that nobody else has locked.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::options().create(true).append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_least_recently_used_is_deleted_and_never_one_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path(), 250).unwrap();
        let put = |path: PathBuf, age| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, [0; 100]).unwrap();
            let at = SystemTime::now() - Duration::from_secs(age);
            File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
            path.canonicalize().unwrap()
        };
        let oldest = put(shelf.urls().join("a.safetensors"), 400);
        let blob = put(shelf.hub().join("models--a--b/blobs/x"), 300);
        let link = shelf.hub().join("models--a--b/snapshots/c/x.safetensors");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("../../blobs/x", &link).unwrap();
        let left = put(shelf.urls().join("b.part"), 200);
        let newest = put(shelf.urls().join("c.safetensors"), 100);
        let other = Shelf::open(folder.path(), 250).unwrap();
        let pin = shelf.pin(&oldest).unwrap().unwrap();
        other.make_room();
        // 400 bytes: the pinned one is the newest now, so that two others go.
        assert!(oldest.is_file() && newest.is_file() && !blob.exists() && !left.exists());
        assert!(link.symlink_metadata().is_err(), "no link without its file is left");
        let tight = Shelf { most: 50, ..other };
        tight.make_room();
        assert!(oldest.is_file() && !newest.exists(), "only what is in use is left");
        drop(pin);
        tight.make_room();
        assert!(!oldest.exists());
        assert!(shelf.pin(&oldest).unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path().join(".in-use")).unwrap().count(), 0);
    }
}
