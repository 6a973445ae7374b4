//! One model in the Hub's cache, laid out as Hugging Face's own library does, so that both share it: contents
//! in `blobs`, named by their hash; a tree of links to them per commit in `snapshots`; branches in `refs`.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::Problem;
use super::id::{HubId, is_commit};

/// The folder of one model.
pub struct ModelCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl ModelCache {
    /// `models--OWNER--NAME` in `cache`; it need not be there.
    pub fn new(cache: &Path, id: &HubId) -> Self {
        let name = format!("models--{}--{}", id.owner, id.name);
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// The folder that a loader reads.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Where contents lie, once they are whole.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where they lie before.
    pub fn partial(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// The commit that `revision` was when it was last asked for.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// From now on `revision` is `commit`.
    pub fn remember(&self, revision: &str, commit: &str) -> Result<(), Problem> {
        if self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        replace(&path, |fresh| fs::write(fresh, commit)).map_err(Problem::cache(path))
    }

    /// Whether a commit's file is there, whole.
    pub fn has(&self, commit: &str, file: &str) -> bool {
        self.snapshot(commit).join(file).is_file()
    }

    /// The names of a commit's files that are there, whole.
    pub fn files(&self, commit: &str) -> BTreeSet<String> {
        let root = self.snapshot(commit);
        let (mut files, mut folders) = (BTreeSet::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if let (true, Ok(name)) = (path.is_file(), path.strip_prefix(&root)) {
                    files.insert(name.to_string_lossy().into_owned());
                }
            }
        }
        files
    }

    /// Names the contents `etag` as a commit's `file`.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), Problem> {
        let path = self.snapshot(commit).join(file);
        // Up from the file's folder, out of the commit's and out of `snapshots`. Relative, so that a cache
        // can be moved or mounted elsewhere.
        let target = Path::new(&"../".repeat(file.split('/').count() + 1)).join("blobs").join(etag);
        replace(&path, |fresh| std::os::unix::fs::symlink(&target, fresh)).map_err(Problem::cache(path))
    }

    /// Waits until nobody else, in this process or another, downloads these contents.
    pub fn lock(&self, etag: &str) -> Result<File, Problem> {
        let path = self.locks.join(format!("{etag}.lock"));
        let locked = || -> io::Result<File> {
            fs::create_dir_all(&self.locks)?;
            let file = File::options().create(true).append(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    tracing::info!(lock = %path.display(), "another process downloads this; waiting for it");
                    file.lock()?;
                }
                // A file system without locks. What two writers could spoil is found by its hash.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            Ok(file)
        };
        locked().map_err(Problem::cache(&path))
    }

    /// Makes the folder for contents.
    pub fn prepare(&self) -> Result<(), Problem> {
        let blobs = self.folder.join("blobs");
        fs::create_dir_all(&blobs).map_err(Problem::cache(blobs))
    }
}

/// Makes a file under a name of its own, then moves it to `path`: nobody sees half of it.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.{count}.new", std::process::id()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    make(Path::new(&fresh))?;
    fs::rename(&fresh, path)
}
