//! The files of the cache that may be deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file of the cache.
#[derive(Debug)]
pub struct Entry {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What a process locks while it downloads this file.
    pub lock: PathBuf,
}

/// The endings of a URL's files: complete, and incomplete.
pub const WHOLE: &str = "safetensors";
pub const PART: &str = "part";
/// The ending of incomplete contents in the Hub's cache.
const INCOMPLETE: &str = "incomplete";

/// The complete and incomplete files of the Hub and of URLs. `lock_of`: the lock of a URL's file, by its name.
pub fn all(hub: &Path, urls: &Path, lock_of: impl Fn(&str) -> PathBuf) -> Vec<Entry> {
    let mut entries = Vec::new();
    for path in children(urls) {
        let is_file = path.extension().is_some_and(|ending| ending == WHOLE || ending == PART);
        if let (true, Some(key)) = (is_file, path.file_stem().and_then(|key| key.to_str())) {
            let lock = lock_of(key);
            entries.extend(entry(path, lock));
        }
    }
    for model in children(hub) {
        let Some(name) = model.file_name() else { continue };
        let locks = hub.join(".locks").join(name);
        for path in children(&model.join("blobs")) {
            let whole = if path.extension().is_some_and(|ending| ending == INCOMPLETE) {
                path.with_extension("")
            } else {
                path.clone()
            };
            let Some(etag) = whole.file_name() else { continue };
            let mut lock = etag.to_owned();
            lock.push(".lock");
            entries.extend(entry(path, locks.join(lock)));
        }
    }
    entries
}

impl Entry {
    /// Deletes the file, and the links to it.
    pub fn delete(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        // The snapshots of the Hub's cache have links to a blob.
        let model = self.path.parent().and_then(Path::parent);
        model.map_or(Ok(()), |model| remove_dead_links(&model.join("snapshots")))
    }
}

fn entry(path: PathBuf, lock: PathBuf) -> Option<Entry> {
    let data = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    Some(Entry { path, bytes: data.len(), lock })
}

fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn remove_dead_links(folder: &Path) -> io::Result<()> {
    for path in children(folder) {
        if path.is_symlink() {
            if !path.exists() {
                fs::remove_file(path)?;
            }
        } else if path.is_dir() {
            remove_dead_links(&path)?;
        }
    }
    Ok(())
}
