//! What can go wrong with the store, sorted by what the reader of the error does next.

/// Why a store did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It is away, full or busy: the same command may succeed later. Clients get 503, workers try again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It answered what no version of this program writes: somebody must look. Clients get 500.
    #[error("the store gave an unexpected answer: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether the same command would be answered the same again: it is not worth a retry.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unavailable(_) => false,
            Self::Corrupt(_) => true,
        }
    }
}

/// A store's answer, or why there is none.
pub type StoreResult<T> = Result<T, StoreError>;
