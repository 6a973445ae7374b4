//! What the service sees of a pipeline.

use super::error::PipelineError;
use super::inputs::Inputs;
use super::interrupt::Interrupt;
use super::picture::Rgb;
use super::warning::PipelineWarning;

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
    /// Names that [`super::SchedulerChoice::name`] may have.
    pub schedulers: Vec<String>,
    /// Where the tensors are, for people.
    pub device: String,
}

/// Makes pictures one step at a time.
pub trait Pipeline {
    /// One job in flight: latents, conditioning, step and sampler state.
    type Denoising;

    /// Encodes the prompts and draws the first latents. With a checkpoint goes on where that was taken: the
    /// pictures are then, on the same device, bit for bit those of a job that was never interrupted. A checkpoint
    /// that does not fit is left aside.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if the inputs ask for something that this model cannot do.
    fn prepare(
        &self,
        inputs: &Inputs,
        checkpoint: Option<&[u8]>,
        interrupt: Interrupt<'_>,
    ) -> Result<Self::Denoising, PipelineError>;

    /// [`Pipeline::prepare`] from the beginning, uninterrupted.
    ///
    /// # Errors
    /// As [`Pipeline::prepare`].
    fn begin(&self, inputs: &Inputs) -> Result<Self::Denoising, PipelineError> {
        self.prepare(inputs, None, Interrupt::never())
    }

    /// [`Pipeline::prepare`] from a checkpoint, uninterrupted.
    ///
    /// # Errors
    /// As [`Pipeline::prepare`].
    fn resume(&self, inputs: &Inputs, checkpoint: &[u8]) -> Result<Self::Denoising, PipelineError> {
        self.prepare(inputs, Some(checkpoint), Interrupt::never())
    }

    /// What of the request has no effect.
    fn warnings(&self, denoising: &Self::Denoising) -> Vec<PipelineWarning>;

    /// What [`Pipeline::prepare`] needs to go on from here: a few hundred KB, some MB for several large pictures.
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

    /// Decodes the pictures, one after the other.
    ///
    /// # Errors
    /// If a picture is not finite or the device fails.
    fn pictures(
        &self,
        denoising: Self::Denoising,
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<Rgb>, PipelineError>;

    /// [`Pipeline::pictures`], uninterrupted.
    ///
    /// # Errors
    /// As [`Pipeline::pictures`].
    fn finish(&self, denoising: Self::Denoising) -> Result<Vec<Rgb>, PipelineError> {
        self.pictures(denoising, Interrupt::never())
    }

    /// How far a job is.
    fn progress(&self, denoising: &Self::Denoising) -> Progress;

    /// What this pipeline can do.
    fn describe(&self) -> Description;
}
