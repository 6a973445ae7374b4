//! The pictures of a pipeline.

use std::borrow::Cow;

use candle_core::{Device, Tensor};

use super::resample::{Filter, Part, resize};
use crate::sdxl::ops;

/// An RGB picture with 8 bits per channel, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// `3 * width * height` bytes.
    pub data: Vec<u8>,
}

impl Rgb {
    /// Whether `data` has the length that the size needs, and at least one pixel.
    pub(super) fn is_whole(&self) -> bool {
        let bytes = 3 * u64::from(self.width) * u64::from(self.height);
        bytes > 0 && self.data.len() as u64 == bytes
    }

    /// The picture in another size, with the Lanczos filter, as diffusers' `VaeImageProcessor.resize`. The picture must
    /// be whole.
    pub(super) fn resized(&self, width: u32, height: u32) -> Cow<'_, Self> {
        if (self.width, self.height) == (width, height) {
            return Cow::Borrowed(self);
        }
        Cow::Owned(self.resized_by(width, height, Filter::Lanczos))
    }

    /// The picture in another size.
    pub(super) fn resized_by(&self, width: u32, height: u32, filter: Filter) -> Self {
        self.part_resized((0.0, 0.0, self.width.into(), self.height.into()), width, height, filter)
    }

    /// A part of the picture in another size.
    pub(super) fn part_resized(&self, part: Part, width: u32, height: u32, filter: Filter) -> Self {
        let (own, to) = ((self.width as usize, self.height as usize), (width as usize, height as usize));
        Self { width, height, data: resize(&self.data, own, part, to, filter) }
    }

    /// The bytes of a pixel.
    pub(super) fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = 3 * (y as usize * self.width as usize + x as usize);
        [self.data[at], self.data[at + 1], self.data[at + 2]]
    }

    /// The brightness of a pixel, as in Pillow's convert("L"): ITU-R 601-2, in 16-bit fractions.
    pub(super) fn luma(&self, x: u32, y: u32) -> u8 {
        let [r, g, b] = self.pixel(x, y).map(u32::from);
        ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
    }

    /// Whether a pixel of a mask is white: from one half on.
    fn is_white(&self, x: u32, y: u32) -> bool {
        f32::from(self.luma(x, y)) / 255.0 >= 0.5
    }

    /// The picture with grey, the middle of an encoder's inputs, where a mask of its size is white: [1, 3, H, W].
    pub(super) fn hidden(&self, mask: &Self, device: &Device) -> candle_core::Result<Tensor> {
        let (width, height) = (self.width, self.height);
        let kept =
            (0..height).flat_map(|y| (0..width).map(move |x| if mask.is_white(x, y) { 0f32 } else { 1.0 }));
        let kept = Tensor::from_iter(kept, device)?.reshape((1, 1, height as usize, width as usize))?;
        self.to_tensor(device)?.broadcast_mul(&kept)
    }

    /// The picture as a mask of latents, [1, 1, h, w]: 1 for white or 0 for black for each `scale` x `scale` pixels.
    pub(super) fn mask(&self, scale: usize, device: &Device) -> candle_core::Result<Tensor> {
        let (width, height) = (self.width as usize / scale, self.height as usize / scale);
        // The upper left pixel decides, as in torch's nearest interpolation.
        let corners = (0..height).flat_map(|y| (0..width).map(move |x| (x * scale, y * scale)));
        let values = corners.map(|(x, y)| if self.is_white(x as u32, y as u32) { 1f32 } else { 0.0 });
        Tensor::from_iter(values, device)?.reshape((1, 1, height, width))
    }

    /// The picture as the input of an encoder: [1, 3, H, W] in -1..1.
    pub(super) fn to_tensor(&self, device: &Device) -> candle_core::Result<Tensor> {
        let values: Vec<f32> = self.data.iter().map(|byte| f32::from(*byte) / 255.0 * 2.0 - 1.0).collect();
        let rows = Tensor::from_vec(values, (1, self.height as usize, self.width as usize, 3), device)?;
        rows.permute((0, 3, 1, 2))?.contiguous()
    }

    /// The picture as the input of a ControlNet: [1, 3, H, W] in 0..1.
    pub(super) fn to_unit_tensor(&self, device: &Device) -> candle_core::Result<Tensor> {
        let values: Vec<f32> = self.data.iter().map(|byte| f32::from(*byte) / 255.0).collect();
        let rows = Tensor::from_vec(values, (1, self.height as usize, self.width as usize, 3), device)?;
        rows.permute((0, 3, 1, 2))?.contiguous()
    }

    /// Converts a decoder's output, [B, 3, H, W] in -1..1, see [`ops::pixels`]. `None` if a number is not finite.
    ///
    /// # Errors
    /// If the shape is another or the device fails.
    pub fn from_tensor(images: &Tensor) -> candle_core::Result<Option<Vec<Self>>> {
        let (_, _, height, width) = images.dims4()?;
        let Some(bytes) = ops::pixels(images)? else { return Ok(None) };
        let pictures = bytes
            .chunks_exact(3 * height * width)
            .map(|data| Self { width: width as u32, height: height as u32, data: data.to_vec() })
            .collect();
        Ok(Some(pictures))
    }
}

impl std::fmt::Debug for Rgb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rgb")
            .field("width", &self.width)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}
