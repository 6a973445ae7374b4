//! Pictures as they leave the pipeline.

use candle_core::{DType, Device, Tensor};

use super::error::PipelineError;

/// A picture, 8 bits per channel, rows from the top, red first.
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
    /// The picture as an encoder takes it: [1, 3, H, W] in -1..1.
    pub(super) fn to_tensor(&self, device: &Device) -> candle_core::Result<Tensor> {
        let values: Vec<f32> = self.data.iter().map(|byte| f32::from(*byte) / 255.0 * 2.0 - 1.0).collect();
        let rows = Tensor::from_vec(values, (1, self.height as usize, self.width as usize, 3), device)?;
        rows.permute((0, 3, 1, 2))?.contiguous()
    }

    /// The pictures of a decoder's output, [B, 3, H, W] in -1..1: x/2 + 1/2, clamped, times 255, rounded
    /// half to even as numpy rounds.
    ///
    /// # Errors
    /// A fault if a number is not finite.
    pub(super) fn from_tensor(images: &Tensor) -> Result<Vec<Self>, PipelineError> {
        let (_, _, height, width) = images.dims4()?;
        // [B, 3, H, W] -> [B, H, W, 3]
        let rows = images.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?;
        let values: Vec<f32> = rows.flatten_all()?.to_vec1()?;
        if values.iter().any(|v| !v.is_finite()) {
            return Err(PipelineError::fault("the decoded picture is not finite"));
        }
        let bytes: Vec<u8> = values
            .iter()
            .map(|v| ((v / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8)
            .collect();
        Ok(bytes
            .chunks_exact(3 * height * width)
            .map(|data| Self { width: width as u32, height: height as u32, data: data.to_vec() })
            .collect())
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
