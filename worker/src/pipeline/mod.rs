//! The interface between the service and the numerics: a step machine.
//!
//! Above it are jobs, leases and sockets; below it there is no tokio, no Redis and no job. A pipeline
//! runs on its own thread, and its tensors never leave that thread. The service takes one step at a time, and checks in
//! between whether the job must stop. Work that takes as long as several steps checks an [`Interrupt`] itself.

mod adapters;
mod autoencoder;
mod checkpoint;
mod component;
mod conditioning;
mod denoising;
mod device;
mod error;
mod inputs;
mod interface;
mod interrupt;
mod load;
mod marks;
mod native;
mod options;
mod picture;
mod sdxl;
mod source;
mod start;
mod warning;

pub use conditioning::EncodedPrompt;
pub use denoising::{EncodedImage, SdxlDenoising};
pub use device::{describe as describe_device, parse_device};
pub use error::PipelineError;
pub use inputs::{Inputs, Lora, SchedulerChoice, Size};
pub use interface::{Description, Pipeline, PreviewKind, Progress};
pub use interrupt::Interrupt;
pub use options::LoadOptions;
pub use picture::Rgb;
pub use sdxl::SdxlPipeline;
pub use warning::PipelineWarning;
