//! The interface between the service and a pipeline.

use super::error::PipelineError;
use super::inputs::Inputs;
use super::interrupt::Interrupt;
use super::picture::Rgb;
use super::warning::PipelineWarning;

/// The progress of a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps taken.
    pub step: usize,
    /// Total steps. Some samplers take one more than requested.
    pub steps: usize,
}

impl Progress {
    /// All steps are done; only decoding is left.
    pub fn is_done(self) -> bool {
        self.step >= self.steps
    }
}

/// What a preview shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewKind {
    /// The sampler's latents: noise that becomes clear.
    Latents,
    /// The sampler's estimate of the final picture: it is clear much earlier.
    Denoised,
}

/// What a worker can do, as the fleet sees it.
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
    /// The device, for messages.
    pub device: String,
}

/// Makes pictures one step at a time.
pub trait Pipeline {
    /// One running job: latents, conditioning, step and sampler state.
    type Denoising;

    /// Encodes the prompts and draws the first latents. With a checkpoint it resumes there: on the same device the
    /// pictures are then bit for bit those of an uninterrupted job. A checkpoint that does not fit is ignored.
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

    /// The parts of the request that have no effect.
    fn warnings(&self, denoising: &Self::Denoising) -> Vec<PipelineWarning>;

    /// What [`Pipeline::prepare`] needs to resume from here: a few hundred KB, some MB for several large pictures.
    ///
    /// # Errors
    /// If the device fails.
    fn checkpoint(&self, denoising: &Self::Denoising) -> Result<Vec<u8>, PipelineError>;

    /// Takes one step of each; they may be at different ones, and may be of different sizes.
    ///
    /// # Errors
    /// A fault of one is a fault of all, because the batch shares memory and device.
    fn step(&self, batch: &mut [&mut Self::Denoising]) -> Result<(), PipelineError>;

    /// A preview of the first picture, in full size.
    ///
    /// # Errors
    /// If the latents are not finite or the device fails.
    fn preview(&self, denoising: &Self::Denoising, source: PreviewKind) -> Result<Rgb, PipelineError>;

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
