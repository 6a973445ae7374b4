//! What a tenant may have in the store at once.

use std::num::NonZeroU32;

/// What a tenant may have in the store at once, as the submit of one of its jobs says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Quota {
    /// The most unfinished jobs, queued or running, of all apps; `None`: any number.
    pub unfinished: Option<NonZeroU32>,
}

impl Quota {
    /// At most this many unfinished jobs.
    pub fn of_jobs(unfinished: NonZeroU32) -> Self {
        Self { unfinished: Some(unfinished) }
    }
}
