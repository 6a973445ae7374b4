//! What a model needs of every request, and how it is told sizes.

use super::error::PipelineError;
use super::inputs::{Inputs, SizeRule};
use super::interface::RequiredInput;
use super::sdxl::SdxlPipeline;

impl SdxlPipeline {
    /// What every request needs for this model.
    pub(super) fn required_input(&self) -> RequiredInput {
        match (self.unet.config().in_channels > self.vae.config().latent_channels, self.scores) {
            (true, _) => RequiredInput::Mask,
            (false, true) => RequiredInput::Image,
            (false, false) => RequiredInput::Nothing,
        }
    }

    pub(super) fn check_required(&self, inputs: &Inputs) -> Result<(), PipelineError> {
        match self.required_input() {
            RequiredInput::Mask if inputs.mask.is_none() => {
                let message = "is missing: this model is for inpainting, and needs an image and a mask";
                Err(PipelineError::bad("mask", message))
            }
            RequiredInput::Image if !inputs.is_image_to_image() => {
                let message = "is missing: this model is a refiner, and needs an image";
                Err(PipelineError::bad("image", message))
            }
            _ => Ok(()),
        }
    }

    /// How sizes are told to the model's own UNet.
    pub(super) fn sizes(&self, inputs: &Inputs) -> SizeRule {
        match (self.scores, inputs.is_image_to_image()) {
            (true, _) => SizeRule::Scores,
            (false, true) => SizeRule::ImageToImage,
            (false, false) => SizeRule::TextToImage,
        }
    }
}
