//! Masks that are alpha channels: transparent pixels are repainted.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Luma};

use super::input_image::{InputImage, InputImageError};

/// Below this alpha a pixel is transparent: the half, as for the luma of our own masks.
const OPAQUE: u8 = 128;

/// The alpha channel of a picture.
pub(super) struct Alpha {
    /// Our mask for it: white, which is repainted, where the picture is transparent.
    pub(super) mask: InputImage,
    /// Whether any pixel is transparent.
    pub(super) has_holes: bool,
}

impl Alpha {
    /// `None` without an alpha channel.
    ///
    /// # Errors
    /// If the mask cannot be encoded.
    pub(super) fn of(picture: &DynamicImage) -> Result<Option<Self>, InputImageError> {
        if !picture.color().has_alpha() {
            return Ok(None);
        }
        let pixels = picture.to_luma_alpha8();
        let mut has_holes = false;
        let mask = GrayImage::from_fn(pixels.width(), pixels.height(), |x, y| {
            let [_, alpha] = pixels.get_pixel(x, y).0;
            has_holes |= alpha < OPAQUE;
            Luma([if alpha < OPAQUE { 255 } else { 0 }])
        });
        let mut file = Vec::new();
        mask.write_to(&mut Cursor::new(&mut file), ImageFormat::Png).map_err(|_| InputImageError::Broken)?;
        Ok(Some(Self { mask: InputImage::new(file.into())?, has_holes }))
    }
}
