//! Reads of many jobs: a tenant's jobs, and an app's queue.

use std::time::Duration;

use crate::{
    id::{App, JobId, Micros},
    job::Status,
};

/// Which of a tenant's jobs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The tenant.
    pub tenant: String,
    /// Only jobs with this status.
    pub status: Option<Status>,
    /// Only jobs that come after this one in the list: they are older.
    pub before: Option<JobId>,
    /// How many at most.
    pub limit: usize,
}

/// A job in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedJob {
    /// Its name.
    pub id: JobId,
    /// The app whose workers run it.
    pub app: App,
    /// Its status.
    pub status: Status,
    /// When it was submitted.
    pub created_at: Micros,
}

/// Sorts newest first, then by id from high to low, and keeps at most `limit`.
pub(super) fn newest_first(mut jobs: Vec<ListedJob>, limit: usize) -> Vec<ListedJob> {
    jobs.sort_by_key(|job| std::cmp::Reverse((job.created_at, job.id)));
    jobs.truncate(limit);
    jobs
}

/// How many jobs of each class the oldest is looked for among. With one tenant the first is the oldest.
pub(super) const FIRST_OF_CLASS: u64 = 100;

/// An app's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many jobs wait.
    pub jobs: u64,
    /// How long the app's jobs took recently, from the first claim to the end; `None` if none was completed.
    pub pace: Option<Duration>,
    /// How long ago the oldest waiting job was submitted, of the first 100 of each class; `None` if none
    /// waits.
    pub oldest: Option<Duration>,
}
