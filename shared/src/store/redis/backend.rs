//! What every command needs.

use std::sync::OnceLock;

use super::{keys::Keys, nodes::Nodes, process::Process, unreadable::Unreadable};
use crate::{
    id::Micros,
    metrics::Metrics,
    store::{Clock, Rules},
};

/// The connections, the key names and the rules. Each file of commands adds its own methods.
pub(super) struct Backend {
    pub(super) nodes: Nodes,
    pub(super) keys: Keys,
    pub(super) rules: Rules,
    pub(super) clock: Clock,
    /// The role of this process, once it is checked.
    pub(super) process: OnceLock<Process>,
    pub(super) unreadable: Unreadable,
    /// Counts the jobs that end.
    pub(super) metrics: Metrics,
}

impl Backend {
    /// The argument `now` of a script; `None` for the server's time.
    pub(super) fn now(&self) -> Option<Micros> {
        self.clock.fixed()
    }
}
