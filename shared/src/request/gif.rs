//! GIF pictures: the first frame, as a PNG. So nothing behind the API has to read GIFs.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, ImageResult, Limits};

/// The size of a GIF's canvas; `None` if the file ends before it.
pub(super) fn canvas(bytes: &[u8]) -> Option<(u32, u32)> {
    let side = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into());
    side(6).zip(side(8))
}

/// The first frame of a GIF on its canvas, as a PNG with an alpha channel. Where the frame does not cover the canvas it is
/// black and transparent. The caller checks the size of the canvas first.
///
/// # Errors
/// If the file is damaged.
pub(super) fn to_png(bytes: &[u8], limits: Limits) -> ImageResult<Vec<u8>> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Gif);
    reader.limits(limits);
    let frame = DynamicImage::from_decoder(reader.into_decoder()?)?;
    let mut png = Vec::new();
    frame.write_to(&mut Cursor::new(&mut png), ImageFormat::Png)?;
    Ok(png)
}
