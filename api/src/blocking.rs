//! Runs work that needs much CPU time away from the threads that serve the streams of this process.

use std::{sync::Arc, thread};

use tokio::sync::Semaphore;

use crate::error::ApiError;

/// Work on up to this many bytes runs where it is: parsing and hashing them takes a fraction of a millisecond.
const INLINE: usize = 64 << 10;

/// Threads that may block: not more at once than there are processors, because each needs memory.
pub(crate) struct Blocking(Arc<Semaphore>);

impl Blocking {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, Into::into))))
    }

    /// Runs `work` on such a thread.
    ///
    /// # Errors
    /// When it panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.0.clone().acquire_owned().await.map_err(|_| ApiError::Ending)?;
        let work = move || {
            let _place = place;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "processing a request failed");
            ApiError::Defect
        })
    }

    /// The same for work on `bytes` bytes, which runs at once if they are few.
    pub(crate) async fn run_if_large<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if bytes <= INLINE { Ok(work()) } else { self.run(work).await }
    }
}
