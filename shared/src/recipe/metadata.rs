//! What a picture's file carries of its recipe.

use super::{
    exif,
    form::{MAX_RECIPE_BYTES, Recipe},
    parameters, xmp,
};

/// The most bytes of a block of metadata: a segment of a JPEG cannot have more.
const MAX_BLOCK_BYTES: usize = 65_000;

/// The recipe of one picture, in the forms that its file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    parameters: Option<String>,
    exif: Option<Vec<u8>>,
    xmp: Option<String>,
}

impl Metadata {
    /// The forms of a recipe. A form that is too long for a file is left out.
    pub fn of(recipe: &Recipe) -> Self {
        let json = serde_json::to_string(recipe).ok().filter(|json| json.len() <= MAX_RECIPE_BYTES);
        let xmp = json.map(|json| xmp::write(&json)).filter(|packet| packet.len() <= MAX_BLOCK_BYTES);
        let parameters = parameters::write(recipe);
        let exif = exif::write(&parameters).filter(|block| block.len() <= MAX_BLOCK_BYTES);
        let parameters = Some(parameters).filter(|text| text.len() <= MAX_BLOCK_BYTES);
        Self { parameters, exif, xmp }
    }

    /// The text for a PNG's chunk `parameters`.
    pub fn parameters(&self) -> Option<&str> {
        self.parameters.as_deref()
    }

    /// The Exif block with the same text, for other formats: a TIFF file.
    pub fn exif(&self) -> Option<&[u8]> {
        self.exif.as_deref()
    }

    /// The XMP packet with the recipe.
    pub fn xmp(&self) -> Option<&str> {
        self.xmp.as_deref()
    }

    /// Whether a form was too long for a file.
    pub fn is_cut(&self) -> bool {
        self.parameters.is_none() || self.exif.is_none() || self.xmp.is_none()
    }
}
