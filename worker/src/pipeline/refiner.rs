//! A refiner: a second model for the last steps, as `StableDiffusionXLImg2ImgPipeline` with SDXL's refiner.

use super::inputs::SizeRule;
use super::text_encoders::TextEncoders;
use crate::schedulers::SchedulerConfig;
use crate::sdxl::unet::Unet;

/// The parts of a refiner. Its autoencoder is the base model's. Both UNets are on the device all the time; the text
/// encoders rest with those of the base model.
#[derive(Debug)]
pub(super) struct Refiner {
    pub(super) text: TextEncoders,
    pub(super) unet: Unet,
    pub(super) scheduler: SchedulerConfig,
    /// Whether it is told aesthetic scores.
    pub(super) sizes: SizeRule,
}
