//! The release before, with which a fleet may roll.

use std::path::PathBuf;

/// The folder of the programs of the release before. If it is given, the fleet rolls from one release to the other.
pub fn previous() -> Option<PathBuf> {
    std::env::var_os("GLIMPSE_PREVIOUS_BIN").map(PathBuf::from)
}

/// Whose programs a slot runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Those of this build.
    Todays,
    /// Those of [`previous`].
    Previous,
}
