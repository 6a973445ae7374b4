//! Encoded pictures.

use bytes::Bytes;
use glimpse_shared::{event::Image, request::OutputFormat};
use image::{ExtendedColorType, ImageEncoder, codecs};

use crate::pipeline::Rgb;

/// An encoded picture.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Its format.
    pub format: OutputFormat,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The file's content.
    pub bytes: Bytes,
}

impl Encoded {
    /// Encodes a picture as JPEG of the given quality (1 to 100), PNG or lossless WebP.
    ///
    /// # Errors
    /// If a side is too long for the format.
    pub fn new(picture: &Rgb, format: OutputFormat, quality: u8) -> Result<Self, EncodeError> {
        let Rgb { width, height, data } = picture;
        let mut out = Vec::new();
        match format {
            OutputFormat::Jpeg => {
                let sides = u16::try_from(*width).and_then(|w| Ok((w, u16::try_from(*height)?)));
                let (width, height) = sides.map_err(EncodeError::new)?;
                jpeg_encoder::Encoder::new(&mut out, quality)
                    .encode(data, width, height, jpeg_encoder::ColorType::Rgb)
                    .map_err(EncodeError::new)?;
            }
            OutputFormat::Png => codecs::png::PngEncoder::new(&mut out)
                .write_image(data, *width, *height, ExtendedColorType::Rgb8)
                .map_err(EncodeError::new)?,
            OutputFormat::Webp => codecs::webp::WebPEncoder::new_lossless(&mut out)
                .write_image(data, *width, *height, ExtendedColorType::Rgb8)
                .map_err(EncodeError::new)?,
        }
        Ok(Self { format, width: *width, height: *height, bytes: out.into() })
    }

    /// The picture inside an event.
    pub fn image(&self) -> Image {
        Image::new(self.format.content_type(), self.width, self.height, &self.bytes)
    }
}

/// A picture that cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[error("encoding the picture failed: {0}")]
pub struct EncodeError(String);

impl EncodeError {
    /// Why it could not be encoded.
    pub(crate) fn new(cause: impl ToString) -> Self {
        Self(cause.to_string())
    }
}
