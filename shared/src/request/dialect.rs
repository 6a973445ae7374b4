//! How a wire reads the fields of a request.

use super::output::PreviewSource;

/// The fields that a wire reads, and its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Its defaults.
    pub defaults: Defaults,
    /// The names of its fields.
    pub names: Names,
}

/// The rules of a wire that its fields' names do not decide.
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
    /// Clients of other servers send more than we use.
    Ignored,
    /// On our own routes a misspelt field is an error.
    Refused,
}

/// Whose names a wire has for the fields of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Our own names.
    Own,
    /// fal's names for SDXL beside our own. If both are given, ours count.
    Fal(Task),
    /// OpenAI's names for pictures beside our own. If both are given, ours count.
    OpenAi(Endpoint),
}

/// What an endpoint of OpenAI's does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/images/generations`: a picture from a prompt.
    Generation,
    /// `/images/edits`: needs a picture. The transparent pixels of the mask are repainted, or those of the picture if
    /// there is no mask.
    Edit,
}

/// What an endpoint of fal's does. It decides which pictures are required, and the default of `strength`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// A picture from a prompt, or from another picture if there is one.
    Any,
    /// `/image-to-image`: needs a picture.
    ImageToImage,
    /// `/inpainting`: needs a picture and a mask.
    Inpainting,
}

impl Names {
    /// Whether fal's names are accepted beside our own.
    pub(super) fn are_fal(self) -> bool {
        self.task().is_some()
    }

    /// What fal's endpoint does; `None` with our own names.
    pub(super) fn task(self) -> Option<Task> {
        match self {
            Self::Own | Self::OpenAi(_) => None,
            Self::Fal(task) => Some(task),
        }
    }

    /// Whether masks are alpha channels, and a picture is required.
    pub(super) fn are_of_edits(self) -> bool {
        self == Self::OpenAi(Endpoint::Edit)
    }
}

impl From<Defaults> for Dialect {
    /// With our own names.
    fn from(defaults: Defaults) -> Self {
        Self { defaults, names: Names::Own }
    }
}
