//! One model in the Hub's cache, in the layout of the `huggingface_hub` library, so that both can share the cache.
//! `blobs` has the contents, named by their hash. `snapshots` has a folder of links to them for each commit. `refs` has
//! the commit of each branch.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::Problem;
use super::id::{HubId, is_commit};
use super::lock::lock;

/// The folder of one model.
pub struct ModelCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl ModelCache {
    /// The folder `models--OWNER--NAME` in `cache`. It may not exist yet.
    pub fn new(cache: &Path, id: &HubId) -> Self {
        let name = format!("models--{}--{}", id.owner, id.name);
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// The folder that a loader reads.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The path of complete contents.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// The path of incomplete contents.
    pub fn partial(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// The commit of `revision` at the last download.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Records that `revision` points to `commit`.
    pub fn remember(&self, revision: &str, commit: &str) -> Result<(), Problem> {
        if self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        replace(&path, |fresh| fs::write(fresh, commit)).map_err(Problem::cache(path))
    }

    /// Whether the cache has a commit's file, complete.
    pub fn has(&self, commit: &str, file: &str) -> bool {
        self.snapshot(commit).join(file).is_file()
    }

    /// The names of a commit's complete files.
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

    /// Links a commit's `file` to the contents `etag`.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), Problem> {
        let path = self.snapshot(commit).join(file);
        // Up from the file's folder, the commit's folder and `snapshots`. The link is relative, so that the cache can
        // be moved or mounted elsewhere.
        let target = Path::new(&"../".repeat(file.split('/').count() + 1)).join("blobs").join(etag);
        replace(&path, |fresh| std::os::unix::fs::symlink(&target, fresh)).map_err(Problem::cache(path))
    }

    /// Locks these contents. Waits while another thread or process downloads them.
    pub async fn lock(&self, etag: &str) -> Result<File, Problem> {
        let path = self.locks.join(format!("{etag}.lock"));
        let said = || tracing::info!(lock = %path.display(), "another process is downloading this file; waiting for it");
        lock(&path, said).await.map_err(Problem::cache(&path))
    }

    /// Creates the `blobs` folder.
    pub fn prepare(&self) -> Result<(), Problem> {
        let blobs = self.folder.join("blobs");
        fs::create_dir_all(&blobs).map_err(Problem::cache(blobs))
    }
}

/// Creates a file under a temporary name and renames it to `path`, so that no reader sees an incomplete file.
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
