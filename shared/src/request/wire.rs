//! How wires differ in reading a request.

use super::output::PreviewSource;

/// What differs between the wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Unknown members.
    pub unknown: Unknown,
    /// `preview_source` where the request does not say.
    pub preview_source: PreviewSource,
}

/// What happens to unknown members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// fal's clients send more than we use, and use their own names for some of it.
    Ignored,
    /// On our own routes a misspelt field is an error.
    Refused,
}

impl Unknown {
    /// Whether fal's names are accepted beside our own.
    pub(super) fn is_fal(self) -> bool {
        self == Self::Ignored
    }
}
