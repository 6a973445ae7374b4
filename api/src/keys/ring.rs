//! The keys that this process knows now.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use subtle::ConditionallySelectable;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    file::{KeysError, read},
    key::{Key, KeyHash},
};

/// The signals that ask this process to read the keys again. From its creation on, SIGHUP does not end the process.
pub(crate) struct Hangups(Signal);

/// The keys, and what asks to read them again.
pub(crate) type Opened = (KeyRing, Hangups);

/// The keys of this process. Its copies are the same keys.
#[derive(Clone)]
pub(crate) struct KeyRing(Arc<Shared>);

struct Shared {
    path: PathBuf,
    keys: RwLock<Arc<[Arc<Key>]>>,
}

impl KeyRing {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub(crate) fn open(path: &Path) -> Result<Opened, KeysError> {
        let hangups = Hangups(signal(SignalKind::hangup()).map_err(KeysError::Signal)?);
        let keys = shared(read(path)?);
        if keys.is_empty() {
            tracing::warn!(file = %path.display(), "the keys file has no [[key]]: nobody has a right key");
        }
        Ok((Self(Arc::new(Shared { path: path.to_owned(), keys: RwLock::new(keys) })), hangups))
    }

    /// Reads the file again on each signal. A file that cannot be used changes nothing. A request that has begun goes on
    /// with its key.
    pub(crate) async fn reload(self, mut hangups: Hangups) {
        while hangups.0.recv().await.is_some() {
            let path = self.0.path.clone();
            let file = path.display().to_string();
            match tokio::task::spawn_blocking(move || read(&path)).await {
                Ok(Ok(keys)) => {
                    let keys = shared(keys);
                    tracing::info!(file, keys = keys.len(), "read the keys again");
                    *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
                }
                Ok(Err(error)) => tracing::error!(%error, "the keys stay as they were"),
                Err(error) => tracing::error!(%error, "the keys stay as they were"),
            }
        }
    }

    fn keys(&self) -> Arc<[Arc<Key>]> {
        // A change is one assignment, so the keys are whole even after a panic.
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key that a client sent. The time depends on neither the key nor which one it is: all hashes are compared.
    pub(crate) fn find(&self, sent: &[u8]) -> Option<Arc<Key>> {
        let (keys, hash) = (self.keys(), KeyHash::of(sent));
        let mut found = u64::MAX;
        for (index, key) in keys.iter().enumerate() {
            found = u64::conditional_select(&found, &(index as u64), key.hash.is(&hash));
        }
        usize::try_from(found).ok().and_then(|index| keys.get(index)).cloned()
    }

    /// The key with this [`KeyHash::beginning`].
    pub(super) fn that_begins(&self, beginning: [u8; 8]) -> Option<Arc<Key>> {
        self.keys().iter().find(|key| key.hash.beginning() == beginning).cloned()
    }
}

fn shared(keys: Vec<Key>) -> Arc<[Arc<Key>]> {
    keys.into_iter().map(Arc::new).collect()
}
