//! The blocks of metadata in a picture's file.

use image::{ImageDecoder, ImageError};

use super::input_image::{InputImage, InputImageError, decoder, of_decoder};

/// Blocks of metadata of a picture's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageMetadata {
    /// The XMP packet.
    pub xmp: Option<Vec<u8>>,
    /// The Exif block: a TIFF file.
    pub exif: Option<Vec<u8>>,
}

impl InputImage {
    /// The blocks of metadata in the file, without decoding the picture.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn metadata(&self) -> Result<ImageMetadata, InputImageError> {
        let mut decoder = decoder(self.bytes().clone(), self.format())?;
        let wrong = |error: ImageError| of_decoder(&error, self.format());
        let xmp = decoder.xmp_metadata().map_err(wrong)?;
        Ok(ImageMetadata { xmp, exif: decoder.exif_metadata().map_err(wrong)? })
    }
}
