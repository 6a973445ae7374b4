//! The interface between the service and the model: a job advances step by step.
//!
//! The code below this interface uses no tokio, no Redis and no job. A pipeline runs on its own thread, and its tensors
//! never leave that thread. The service takes one step at a time and checks between steps whether the job must stop.
//! Other long work checks an [`Interrupt`] itself.

mod adapters;
mod architecture;
mod autoencoder;
mod branch;
mod canny;
mod checkpoint;
mod chunks;
mod component;
mod conditioning;
mod control_choice;
mod controlnets;
mod crop;
mod denoising;
mod device;
mod driver_status;
mod embedding_choice;
mod embeddings;
mod error;
mod go_on;
mod guidance;
mod inputs;
mod interface;
mod interrupt;
mod kept_nets;
mod load;
#[cfg(test)]
#[path = "../../tests/support/log.rs"]
mod log;
mod lora_files;
mod lora_set;
mod marks;
mod memory;
mod native;
mod no_effect;
mod options;
mod parts;
mod picture;
mod refiner;
mod required;
mod resample;
mod residence;
mod sampler_choice;
mod sdxl;
mod second;
mod seeded_noise;
mod source;
mod start;
mod switch;
mod text_encoders;
mod text_source;
mod warm;
mod warning;
mod window;

pub use canny::EdgeThresholds;
pub use conditioning::EncodedPrompt;
pub use control_choice::ControlChoice;
pub use denoising::{EncodedImage, SdxlDenoising};
pub use device::{DeviceName, describe as describe_device, parse_device};
pub use embedding_choice::EmbeddingChoice;
pub use error::PipelineError;
pub use inputs::{EarlierInputs, HeightWidth, Hires, InputLatents, Inputs, LoraChoice, SchedulerChoice};
pub use interface::{Description, Identity, Pipeline, PreviewKind, RequiredInput, StepProgress};
pub use interrupt::Interrupt;
pub use options::LoadOptions;
pub use picture::Rgb;
pub use sdxl::SdxlPipeline;
pub use warning::PipelineWarning;
