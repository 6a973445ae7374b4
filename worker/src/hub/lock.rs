//! Locks between the processes that share a cache.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// How often a lock that another holds is tried: the system cannot wake a task for it.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// Locks a file, and creates it if it is missing. Calls `waits` once if another thread or process has locked it. The lock
/// ends when the file is dropped.
///
/// # Errors
/// If the file cannot be created or locked.
pub async fn lock(path: &Path, waits: impl FnOnce()) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::options().create(true).append(true).open(path)?;
    let mut waits = Some(waits);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // The file system has no locks. If two writers damage a file, its hash does not match.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                waits.take().into_iter().for_each(|waits| waits());
                tokio::time::sleep(TRY_EVERY).await;
            }
        }
    }
}
