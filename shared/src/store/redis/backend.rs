//! What every command needs.

use super::{keys::Keys, nodes::Nodes};
use crate::{
    id::Micros,
    store::{Clock, Rules},
};

/// The servers, the keys and the rules. Each file of commands adds its own methods.
pub(super) struct Backend {
    pub(super) nodes: Nodes,
    pub(super) keys: Keys,
    pub(super) rules: Rules,
    pub(super) clock: Clock,
}

impl Backend {
    /// The argument `now` of a script.
    pub(super) fn now(&self) -> Option<Micros> {
        self.clock.fixed()
    }
}
