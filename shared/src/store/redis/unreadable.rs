//! Data that this version cannot read: from an operator, another program or a newer release. It is skipped, with one
//! warning, because it must not stop the commands of everything else.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::error::StoreError;

/// How many things are remembered; then all are forgotten, and warned of again.
const REMEMBERED: usize = 1000;

/// What this process has warned of.
#[derive(Default)]
pub(super) struct Unreadable(Mutex<HashSet<String>>);

impl Unreadable {
    /// Warns of `what` once.
    pub(super) fn skipped(&self, what: &str, error: &StoreError) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        if known.insert(format!("{what}: {error}")) {
            tracing::warn!(what, %error, "skipped what this version cannot read");
        }
    }
}

/// The beginning of a name, in printable characters.
pub(super) fn printable(name: &[u8]) -> String {
    const LONGEST: usize = 64;
    let text = String::from_utf8_lossy(name);
    let more = if text.chars().nth(LONGEST).is_some() { "…" } else { "" };
    let start: String = text.chars().take(LONGEST).collect();
    format!("{}{more}", start.escape_debug())
}
