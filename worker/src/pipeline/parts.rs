//! The check of what divides a job, or its picture, into parts.

use super::error::PipelineError;
use super::inputs::{Hires, Inputs};

/// The largest margin around a mask, in pixels.
const MAX_MARGIN: u32 = 4096;
/// The largest growth of a second pass.
const MAX_SCALE: f64 = 8.0;

impl Inputs {
    /// Checks what divides a job, or a picture, into parts.
    pub(super) fn check_parts(&self) -> Result<(), PipelineError> {
        for (field, share) in
            [("denoising_start", self.denoising_start), ("denoising_end", self.denoising_end)]
        {
            if share.is_some_and(|share| !(share > 0.0 && share < 1.0)) {
                return Err(PipelineError::bad(field, "is not above 0 and below 1"));
            }
        }
        if self.denoising_start.is_some()
            && self.denoising_start >= self.denoising_end
            && self.denoising_end.is_some()
        {
            return Err(PipelineError::bad("denoising_start", "is not below denoising_end"));
        }
        if self.denoising_start.is_some() && (self.mask.is_some() || !self.is_image_to_image()) {
            return Err(PipelineError::bad("denoising_start", "needs a picture or latents, and no mask"));
        }
        if self.latents.is_some() && (self.image.is_some() || self.mask.is_some()) {
            return Err(PipelineError::bad("latents", "are in place of a picture, and have no mask"));
        }
        if self.refined && self.denoising_end.is_none() {
            return Err(PipelineError::bad("denoising_end", "is missing: it says where the refiner goes on"));
        }
        let scores = [self.aesthetic_score, self.negative_aesthetic_score];
        if !scores.iter().flatten().all(|score| score.is_finite()) {
            return Err(PipelineError::bad("aesthetic_score", "is not a finite number"));
        }
        if let Some(margin) = self.padding_mask_crop {
            let (Some(image), Some(mask)) = (&self.image, &self.mask) else {
                return Err(PipelineError::bad("padding_mask_crop", "needs an image and a mask"));
            };
            if (image.width, image.height) != (mask.width, mask.height) {
                return Err(PipelineError::bad("padding_mask_crop", "needs a mask of the image's size"));
            }
            if margin > MAX_MARGIN {
                return Err(PipelineError::bad("padding_mask_crop", format!("is above {MAX_MARGIN}")));
            }
        }
        let Some(Hires { scale, strength, steps }) = self.hires else { return Ok(()) };
        if self.is_image_to_image() || self.denoising_end.is_some() {
            return Err(PipelineError::bad("hires", "is for text-to-image, without an image or a refiner"));
        }
        let is_share = strength > 0.0 && strength <= 1.0;
        if !(1.0..=MAX_SCALE).contains(&scale) || !is_share || steps == 0 {
            let message = format!("needs a scale from 1 to {MAX_SCALE}, a strength above 0 to 1, and steps");
            return Err(PipelineError::bad("hires", message));
        }
        Ok(())
    }
}
