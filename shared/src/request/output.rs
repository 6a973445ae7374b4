//! The choices of a request for its pictures.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a preview shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PreviewSource {
    /// The sampler's latents, as in fal's example.
    Latents,
    /// The sampler's estimate of the final picture, which is clear in earlier steps.
    Denoised,
}

/// How the final pictures are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// `image/jpeg`, quality 95.
    Jpeg,
    /// `image/png`.
    Png,
    /// `image/webp`, lossless.
    Webp,
}

impl OutputFormat {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }
}
