//! Logs the progress of a load.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::DecimalBytes;

/// The interval of log lines.
const EVERY: Duration = Duration::from_secs(5);

/// The progress of one component's load.
#[derive(Debug)]
pub(super) struct LoadProgress {
    component: &'static str,
    total: u64,
    read: Cell<u64>,
    logged: Cell<Instant>,
}

impl LoadProgress {
    /// Logs the start of a load.
    pub(super) fn begin(component: &'static str, total: u64, file: &Path) -> Self {
        tracing::info!("loading {component}: {} from {}", DecimalBytes(total), file.display());
        Self { component, total, read: Cell::new(0), logged: Cell::new(Instant::now()) }
    }

    /// Adds the bytes that were read, and logs if a line is due.
    pub(super) fn advance(&self, bytes: u64) {
        self.read.set(self.read.get() + bytes);
        if self.logged.get().elapsed() >= EVERY {
            self.logged.set(Instant::now());
            let (read, total) = (DecimalBytes(self.read.get()), DecimalBytes(self.total));
            tracing::info!("loading {}: {read} of {total}", self.component);
        }
    }
}
