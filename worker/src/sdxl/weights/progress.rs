//! What is being loaded and how far it is, in the log.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::DecimalBytes;

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// The load of one component.
#[derive(Debug)]
pub(super) struct Loading {
    component: &'static str,
    total: u64,
    read: Cell<u64>,
    logged: Cell<Instant>,
}

impl Loading {
    /// Says what is loaded, and from where.
    pub(super) fn begin(component: &'static str, total: u64, file: &Path) -> Self {
        tracing::info!("loading {component}: {} from {}", DecimalBytes(total), file.display());
        Self { component, total, read: Cell::new(0), logged: Cell::new(Instant::now()) }
    }

    /// So many bytes more have been read.
    pub(super) fn advance(&self, bytes: u64) {
        self.read.set(self.read.get() + bytes);
        if self.logged.get().elapsed() >= EVERY {
            self.logged.set(Instant::now());
            let (read, total) = (DecimalBytes(self.read.get()), DecimalBytes(self.total));
            tracing::info!("loading {}: {read} of {total}", self.component);
        }
    }
}
