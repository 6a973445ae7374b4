//! How one wire reads a request differently from another.

use super::output::PreviewSource;

/// What differs between the wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Members that no rule names.
    pub unknown: Unknown,
    /// `preview_source` where the request does not say.
    pub preview_source: PreviewSource,
}

/// What becomes of members that no rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// fal's clients send more than we use, and have their own words for some of it.
    Ignored,
    /// On our own routes a misspelt field is an error.
    Refused,
}

impl Unknown {
    /// Whether fal's words are understood beside our own.
    pub(super) fn is_fal(self) -> bool {
        self == Self::Ignored
    }
}
