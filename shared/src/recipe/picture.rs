//! Reads the recipe that a picture's file carries.

use std::io::Cursor;

use bytes::Bytes;

use super::{
    exif,
    form::{MAX_RECIPE_BYTES, Recipe, VERSION},
    read_parameters, xmp,
};
use crate::request::{InputFormat, InputImage, InputImageError};

/// The PNG chunk with the text that other programs write.
const PARAMETERS: &str = "parameters";
/// The most bytes of a PNG's text that is read, unpacked.
const MOST_TEXT: usize = 256 * 1024;
/// The most memory for the chunks of a PNG before its pixels, in bytes.
const MOST_CHUNKS: usize = 16 << 20;

/// A recipe that was read from a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundRecipe {
    /// The recipe.
    pub recipe: Recipe,
    /// The names of the values that have no counterpart here, if another program wrote it.
    pub unknown: Vec<String>,
}

/// Why a file gives no recipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRecipe {
    /// The file is not a picture that can be read.
    #[error("{0}")]
    NoPicture(#[from] InputImageError),
    /// The picture carries none.
    #[error(
        "The picture carries no recipe: it was made without one, or a program that changed it has removed it"
    )]
    None,
    /// It is not one, or of a version that this program does not know.
    #[error("The picture's recipe cannot be read: {0}")]
    Unreadable(String),
}

impl Recipe {
    /// Reads the recipe of a PNG, JPEG or WebP: ours, or else the text of another program. Does not decode the pixels,
    /// except those of a GIF.
    ///
    /// # Errors
    /// If the file is no picture, or has no recipe that can be read.
    pub fn from_picture(bytes: Bytes) -> Result<FoundRecipe, NoRecipe> {
        let image = InputImage::new(bytes)?;
        let blocks = image.metadata()?;
        if let Some(json) = blocks.xmp.as_deref().and_then(xmp::read) {
            return ours(&json).map(|recipe| FoundRecipe { recipe, unknown: Vec::new() });
        }
        let text = match image.format() {
            InputFormat::Png => png_text(image.bytes()),
            InputFormat::Jpeg | InputFormat::Webp => None,
        };
        let text = text.or_else(|| blocks.exif.and_then(exif::read)).filter(|text| text.len() <= MOST_TEXT);
        let found = text.as_deref().and_then(read_parameters::read);
        found.map(|(recipe, unknown)| FoundRecipe { recipe, unknown }).ok_or(NoRecipe::None)
    }
}

fn ours(json: &str) -> Result<Recipe, NoRecipe> {
    if json.len() > MAX_RECIPE_BYTES {
        return Err(NoRecipe::Unreadable(format!("it has more than {MAX_RECIPE_BYTES} bytes")));
    }
    let recipe: Recipe =
        serde_json::from_str(json).map_err(|error| NoRecipe::Unreadable(error.to_string()))?;
    match recipe.version {
        VERSION => Ok(recipe),
        version => {
            Err(NoRecipe::Unreadable(format!("its version is {version}, and this program knows {VERSION}")))
        }
    }
}

/// The text `parameters` before a PNG's pixels.
fn png_text(bytes: &[u8]) -> Option<String> {
    let decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: MOST_CHUNKS });
    let reader = decoder.read_info().ok()?;
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == PARAMETERS);
    if let Some(chunk) = plain {
        return Some(chunk.text.clone());
    }
    if let Some(chunk) = info.utf8_text.iter().find(|chunk| chunk.keyword == PARAMETERS) {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MOST_TEXT).ok()?;
        return chunk.get_text().ok();
    }
    let mut packed = info.compressed_latin1_text.iter().find(|chunk| chunk.keyword == PARAMETERS)?.clone();
    packed.decompress_text_with_limit(MOST_TEXT).ok()?;
    packed.get_text().ok()
}
