//! The differences between the two wires (fal's routes and our own) in a request.

use super::output::PreviewSource;

/// The rules of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Unknown members.
    pub unknown: Unknown,
    /// The default of `preview_source`.
    pub preview_source: PreviewSource,
}

/// How a wire treats unknown members.
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
