//! The seam between the service and the numbers: a step machine.
//!
//! Above it are jobs, leases and sockets; below it there is no tokio, no Redis and no job. A pipeline
//! lives on the runner's own thread, and its tensors never leave that thread: the runner takes one step
//! at a time, and looks in between for cancellation, so that nothing below has to know about it.

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
mod load;
mod marks;
mod options;
mod picture;
mod sdxl;
mod source;
mod start;

pub use conditioning::EncodedPrompt;
pub use denoising::{EncodedImage, SdxlDenoising};
pub use device::parse_device;
pub use error::PipelineError;
pub use inputs::{Inputs, Lora, SchedulerChoice, Size};
pub use interface::{Description, Pipeline, PreviewSource, Progress};
pub use options::LoadOptions;
pub use picture::Rgb;
pub use sdxl::SdxlPipeline;
