//! The seam between the service and the numbers: a step machine.
//!
//! Above it are jobs, leases and sockets; below it there is no tokio, no Redis and no job. A pipeline
//! lives on a thread of its own, and its tensors never leave that thread: the runner takes one step at a
//! time, and looks in between whether the job is still wanted. What takes as long as several steps looks
//! itself, by an [`Interrupt`].

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
pub use interface::{Description, Pipeline, PreviewSource, Progress};
pub use interrupt::Interrupt;
pub use options::LoadOptions;
pub use picture::Rgb;
pub use sdxl::SdxlPipeline;
pub use warning::PipelineWarning;
