//! The pictures of a pipeline.

use std::borrow::Cow;

use candle_core::{Device, Tensor};

use super::lanczos;
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
        let sides = |width: u32, height: u32| (width as usize, height as usize);
        let data = lanczos::resize(&self.data, sides(self.width, self.height), sides(width, height));
        Cow::Owned(Self { width, height, data })
    }

    /// The picture as a mask of latents, [1, 1, h, w]: 1 for white or 0 for black for each `scale` x `scale` pixels.
    pub(super) fn mask(&self, scale: usize, device: &Device) -> candle_core::Result<Tensor> {
        let (width, height) = (self.width as usize, self.height as usize);
        // The upper left pixel decides, as in torch's nearest interpolation.
        let corners = (0..height / scale).flat_map(|y| (0..width / scale).map(move |x| (x, y)));
        let values = corners.map(|(x, y)| {
            let at = 3 * (y * scale * width + x * scale);
            // Luma as in Pillow's convert("L"): ITU-R 601-2, in 16-bit fractions. White from one half on.
            let [r, g, b] = [0, 1, 2].map(|channel| u32::from(self.data[at + channel]));
            let luma = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
            if luma as f32 / 255.0 < 0.5 { 0f32 } else { 1.0 }
        });
        Tensor::from_iter(values, device)?.reshape((1, 1, height / scale, width / scale))
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
