//! The process' limit of open files, which limits its connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files, and so of connections, to the hard limit: the usual soft limit of 1,024 is too low
/// for 10,000 streams. Call it once, at the start.
pub fn raise_connection_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => tracing::debug!(files = ?limit.maximum, "raised the limit of open files"),
        Err(error) => {
            tracing::warn!(%error, files = ?limit.current, "the limit of open files could not be raised")
        }
    }
}
