//! What a process uses the store for.

/// The role of a process. It needs the rights of its role only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Submits jobs and follows them.
    Api,
    /// Claims jobs and runs them.
    Worker,
    /// Both roles in one process.
    Both,
}

impl Process {
    /// Whether it submits and follows jobs.
    pub(super) fn is_api(self) -> bool {
        self != Self::Worker
    }

    /// Whether it claims jobs.
    pub(super) fn is_worker(self) -> bool {
        self != Self::Api
    }
}
