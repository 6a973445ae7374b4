//! The interface between the service and a pipeline.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Map, Value};

use super::error::PipelineError;
use super::inputs::Inputs;
use super::interrupt::Interrupt;
use super::picture::Rgb;
use super::warning::PipelineWarning;

/// The progress of a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepProgress {
    /// Steps taken.
    pub step: usize,
    /// Total steps. Some samplers take one more than requested.
    pub steps: usize,
}

impl StepProgress {
    /// All steps are done; only decoding is left.
    pub fn is_done(self) -> bool {
        self.step >= self.steps
    }
}

/// What a preview shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewKind {
    /// The sampler's latents, which still have noise.
    Latents,
    /// The sampler's estimate of the final picture, which is clear after fewer steps.
    Denoised,
}

/// What every request needs for a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequiredInput {
    /// Nothing but a prompt.
    #[default]
    Nothing,
    /// An input picture, for a refiner.
    Image,
    /// An input picture and a mask, for a UNet with mask input.
    Mask,
}

/// What a pipeline can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Width in pixels that the model was trained for.
    pub native_width: u32,
    /// Height in pixels that the model was trained for.
    pub native_height: u32,
    /// Width and height are multiples of this, in pixels.
    pub multiple: u32,
    /// Largest width times height, in pixels.
    pub max_pixels: u64,
    /// The supported values of [`super::SchedulerChoice::name`].
    pub schedulers: Vec<String>,
    /// What every request needs.
    pub required: RequiredInput,
    /// Whether there is a refiner for the last steps.
    pub refines: bool,
    /// The device, for messages.
    pub device: String,
    /// What a picture's recipe says of the model.
    pub identity: Identity,
}

/// What a picture's recipe says of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The files with the UNet's weights; none if they are random.
    pub files: Vec<PathBuf>,
    /// The configuration of the model's own sampler, as `scheduler_config.json` has it.
    pub scheduler: Map<String, Value>,
}

impl Description {
    /// Whether ControlNets fit the model. There are none for refiners, whose UNet has other levels.
    pub fn takes_controlnets(&self) -> bool {
        self.required != RequiredInput::Image
    }
}

/// Generates pictures step by step.
pub trait Pipeline {
    /// The state of one running job.
    type Denoising;

    /// Encodes the prompts and draws the first latents, or resumes from a checkpoint. On the same device the pictures
    /// of a resumed job are bit for bit those of an uninterrupted job. A checkpoint that does not fit is ignored.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if the inputs need something that this model cannot do, a fault if the device
    /// fails, [`PipelineError::Interrupted`] if the work must stop.
    fn prepare(
        &self,
        inputs: &Inputs,
        checkpoint: Option<&[u8]>,
        interrupt: Interrupt<'_>,
    ) -> Result<Self::Denoising, PipelineError>;

    /// When the prompts were in the text encoders, of a job that was prepared; `None` if it is not measured.
    fn text_time(&self, denoising: &Self::Denoising) -> Option<Range<Instant>> {
        let _ = denoising;
        None
    }

    /// [`Pipeline::prepare`] without checkpoint and interrupt.
    ///
    /// # Errors
    /// As [`Pipeline::prepare`].
    fn begin(&self, inputs: &Inputs) -> Result<Self::Denoising, PipelineError> {
        self.prepare(inputs, None, Interrupt::never())
    }

    /// [`Pipeline::prepare`] from a checkpoint, without interrupt.
    ///
    /// # Errors
    /// As [`Pipeline::prepare`].
    fn resume(&self, inputs: &Inputs, checkpoint: &[u8]) -> Result<Self::Denoising, PipelineError> {
        self.prepare(inputs, Some(checkpoint), Interrupt::never())
    }

    /// The parts of the request that have no effect.
    fn warnings(&self, denoising: &Self::Denoising) -> Vec<PipelineWarning>;

    /// A checkpoint for [`Pipeline::prepare`]: some hundred KB, or some MB for several large pictures.
    ///
    /// # Errors
    /// If the device fails.
    fn checkpoint(&self, denoising: &Self::Denoising) -> Result<Vec<u8>, PipelineError>;

    /// Takes one step of each job. The jobs may be at different steps and have different sizes. The interrupt is checked
    /// between the parts of a step that take long, as between two passes.
    ///
    /// # Errors
    /// A fault of one job is a fault of all: they share memory and device. [`PipelineError::Interrupted`] if the work
    /// must stop; then the jobs cannot go on.
    fn step_or_stop(
        &self,
        batch: &mut [&mut Self::Denoising],
        interrupt: Interrupt<'_>,
    ) -> Result<(), PipelineError>;

    /// [`Pipeline::step_or_stop`] without interrupt.
    ///
    /// # Errors
    /// As [`Pipeline::step_or_stop`].
    fn step(&self, batch: &mut [&mut Self::Denoising]) -> Result<(), PipelineError> {
        self.step_or_stop(batch, Interrupt::never())
    }

    /// A preview of the first picture, in the picture's size.
    ///
    /// # Errors
    /// If the latents are not finite or the device fails.
    fn preview(&self, denoising: &Self::Denoising, source: PreviewKind) -> Result<Rgb, PipelineError>;

    /// Decodes the final pictures.
    ///
    /// # Errors
    /// If a picture is not finite, the device fails, or the work must stop.
    fn pictures(
        &self,
        denoising: Self::Denoising,
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<Rgb>, PipelineError>;

    /// Decodes the newest step's estimate of the final pictures, after at least one step.
    ///
    /// # Errors
    /// As [`Pipeline::pictures`].
    fn estimates(
        &self,
        denoising: Self::Denoising,
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<Rgb>, PipelineError>;

    /// [`Pipeline::pictures`] without interrupt.
    ///
    /// # Errors
    /// As [`Pipeline::pictures`].
    fn finish(&self, denoising: Self::Denoising) -> Result<Vec<Rgb>, PipelineError> {
        self.pictures(denoising, Interrupt::never())
    }

    /// The progress of a job.
    fn progress(&self, denoising: &Self::Denoising) -> StepProgress;

    /// What this pipeline can do.
    fn describe(&self) -> Description;
}
