//! What a wire's own fields say, where it has names beside ours.

use serde_json::Value;

use super::{output::OutputFormat, partials::Partials, size::Size};
use crate::event::Warning;

/// The values of the fields that are a wire's own. A field that our names give too is not read.
#[derive(Default)]
pub(super) struct WireFields {
    /// Both sides of the picture, in one field.
    pub(super) size: Option<NamedSize>,
    /// How many pictures.
    pub(super) num_images: Option<u64>,
    /// The encoding of the final pictures, or the wire's default of it.
    pub(super) format: Option<OutputFormat>,
    /// The final pictures as data URIs, also if the fleet keeps results elsewhere.
    pub(super) data_uris: bool,
    /// The quality of final JPEGs, 1 to 100.
    pub(super) jpeg_quality: Option<u8>,
    /// The wire's default of `preview_every`.
    pub(super) preview_every: Option<u32>,
    /// The partial pictures.
    pub(super) partials: Partials,
    /// What was accepted without an effect.
    pub(super) warnings: Vec<Warning>,
}

/// A field that gives both sides of the picture.
pub(super) struct NamedSize {
    pub(super) size: Size,
    /// Its name.
    pub(super) field: &'static str,
    /// Its value, as the client sent it.
    pub(super) sent: Value,
}
