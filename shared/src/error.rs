//! Errors of the store, sorted by what the caller can do.

/// Why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable, full or busy: a retry may succeed. Clients get 503, workers retry.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store returned data that this version cannot read: an operator must act. Clients get 500.
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
