//! Errors of the store, sorted by what the reader of the error can do next.

/// Why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It is unreachable, full or busy: the same command may succeed later. Clients get 503, workers retry.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It returned data that no version of this program writes: an operator must look. Clients get 500.
    #[error("the store gave an unexpected answer: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether a retry would fail in the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unavailable(_) => false,
            Self::Corrupt(_) => true,
        }
    }
}

/// A store's answer, or its error.
pub type StoreResult<T> = Result<T, StoreError>;
