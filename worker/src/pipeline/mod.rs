//! The seam between the service and the numbers: a step machine.
//!
//! Above it are jobs, leases and sockets; below it there is no tokio, no Redis and no job. A pipeline
//! lives on the runner's own thread, and its tensors never leave that thread: the runner takes one step
//! at a time, and looks in between for cancellation, so that nothing below has to know about it.

mod adapters;
mod autoencoder;
mod checkpoint;
mod conditioning;
mod denoising;
mod device;
mod error;
mod inputs;
mod load;
mod picture;
mod sdxl;
mod source;
mod start;

pub use conditioning::EncodedPrompt;
pub use denoising::{EncodedImage, SdxlDenoising};
pub use device::{describe as describe_device, parse_device};
pub use error::PipelineError;
pub use inputs::{Inputs, Lora, SchedulerChoice, Size};
pub use load::LoadOptions;
pub use picture::Rgb;
pub use sdxl::SdxlPipeline;

/// How far a job in flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps taken.
    pub step: usize,
    /// Steps in all. Some samplers take one more than was asked for.
    pub steps: usize,
}

impl Progress {
    /// Nothing is left but to decode.
    pub fn is_done(self) -> bool {
        self.step >= self.steps
    }
}

/// What a preview shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewSource {
    /// What the sampler holds: noise that clears up.
    Latents,
    /// What the sampler thinks the end will be: clear far sooner.
    Denoised,
}

/// What a worker can do, as it tells the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Width in pixels that the model was trained for.
    pub native_width: u32,
    /// Height in pixels that the model was trained for.
    pub native_height: u32,
    /// Sides of pictures are multiples of this many pixels.
    pub multiple: u32,
    /// Largest picture, in pixels.
    pub max_pixels: u64,
    /// Names that [`SchedulerChoice::name`] may have.
    pub schedulers: Vec<String>,
    /// Where the tensors are, for people.
    pub device: String,
}

/// Makes pictures one step at a time.
pub trait Pipeline {
    /// One job in flight: latents, conditioning, step and sampler state.
    type Denoising;

    /// Encodes the prompts and draws the first latents.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if the inputs ask for something that this model cannot do.
    fn begin(&self, inputs: &Inputs) -> Result<Self::Denoising, PipelineError>;

    /// As [`Pipeline::begin`], and goes on where `checkpoint` was taken: the pictures are then, on the same
    /// device, bit for bit those of a job that was never interrupted. A checkpoint that does not fit is left
    /// aside.
    ///
    /// # Errors
    /// As [`Pipeline::begin`].
    fn resume(&self, inputs: &Inputs, checkpoint: &[u8]) -> Result<Self::Denoising, PipelineError>;

    /// What [`Pipeline::resume`] needs, in a few hundred KB.
    ///
    /// # Errors
    /// If the device fails.
    fn checkpoint(&self, denoising: &Self::Denoising) -> Result<Vec<u8>, PipelineError>;

    /// Takes one step of each; they may be at different ones, and may be of different sizes.
    ///
    /// # Errors
    /// A fault of one is a fault of all: the batch shared its memory and its device.
    fn step(&self, batch: &mut [&mut Self::Denoising]) -> Result<(), PipelineError>;

    /// A quick look at the first picture, in full size.
    ///
    /// # Errors
    /// If the latents are not finite or the device fails.
    fn preview(&self, denoising: &Self::Denoising, source: PreviewSource) -> Result<Rgb, PipelineError>;

    /// Decodes the pictures.
    ///
    /// # Errors
    /// If a picture is not finite or the device fails.
    fn finish(&self, denoising: Self::Denoising) -> Result<Vec<Rgb>, PipelineError>;

    /// How far a job is.
    fn progress(&self, denoising: &Self::Denoising) -> Progress;

    /// What this pipeline can do.
    fn describe(&self) -> Description;
}
