//! GIF pictures: the first frame, as a PNG. So nothing behind the API has to read GIFs.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::input_image::InputImageError;

/// The first frame of a GIF on its canvas, as a PNG with an alpha channel. Where the frame does not cover the canvas it is
/// black and transparent. The size is checked before anything is decoded.
///
/// # Errors
/// If the canvas is too large or the file is damaged.
pub(super) fn to_png(
    bytes: &[u8],
    limits: Limits,
    check_size: impl FnOnce(u32, u32) -> Result<(), InputImageError>,
) -> Result<Vec<u8>, InputImageError> {
    let broken = |_| InputImageError::Broken;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Gif);
    // The decoder compares its limits with the canvas; ours name the error.
    reader.limits(limits);
    let canvas = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let (width, height) = canvas(6).zip(canvas(8)).ok_or(InputImageError::Broken)?;
    check_size(width.into(), height.into())?;
    let decoder = reader.into_decoder().map_err(broken)?;
    let frame = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let mut png = Vec::new();
    frame.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).map_err(broken)?;
    Ok(png)
}
