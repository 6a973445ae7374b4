//! Runs CPU-bound work on separate threads, so that it does not delay the streams of this process.

use std::{sync::Arc, thread};

use tokio::sync::Semaphore;

use crate::error::ApiError;

/// Work on at most this many bytes runs on the current thread: it takes less than a millisecond.
const INLINE: usize = 64 << 10;

/// Runs work on blocking threads. At most one thread per processor runs at a time, because each needs memory.
pub(crate) struct Blocking(Arc<Semaphore>);

impl Blocking {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, Into::into))))
    }

    /// Runs `work` on a blocking thread.
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

    /// As [`Blocking::run`], but work on at most [`INLINE`] bytes runs on the current thread.
    pub(crate) async fn run_if_large<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if bytes <= INLINE { Ok(work()) } else { self.run(work).await }
    }
}
