//! The ControlNets of a job's inputs.

use std::borrow::Cow;
use std::path::PathBuf;

use super::canny::{self, EdgeThresholds};
use super::error::PipelineError;
use super::picture::Rgb;

/// A ControlNet, its picture, and when and how strongly it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlChoice {
    /// Its name in the request, for messages: the client must not see its path.
    pub name: String,
    /// A folder in the diffusers layout, or a `.safetensors` file.
    pub path: PathBuf,
    /// The picture. Another size than the job's is resized as by diffusers' `VaeImageProcessor`.
    pub image: Rgb,
    /// How the edges of the resized picture are found, if the ControlNet is to see these.
    pub edges: Option<EdgeThresholds>,
    /// The kind of the picture, for a ControlNet of several: an entry of diffusers' `control_mode`.
    pub mode: Option<usize>,
    /// The factor of its residuals: diffusers' `controlnet_conditioning_scale`.
    pub scale: f64,
    /// 0..1: the share of the steps before it begins.
    pub start: f64,
    /// Above `start`, at most 1: the share of the steps after which it has ended.
    pub end: f64,
}

impl ControlChoice {
    /// A ControlNet that is named like its file, at full strength in all steps.
    pub fn of(path: impl Into<PathBuf>, image: Rgb) -> Self {
        let path = path.into();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, path, image, edges: None, mode: None, scale: 1.0, start: 0.0, end: 1.0 }
    }

    /// Checks what does not depend on the file.
    pub(super) fn check(&self) -> Result<(), PipelineError> {
        let bad = |message: &str| Err(PipelineError::bad("controlnets", format!("{}: {message}", self.name)));
        if !self.image.is_whole() {
            return bad("the picture does not have as many bytes as its size needs");
        }
        if !self.scale.is_finite() {
            return bad("the scale is not a finite number");
        }
        if !(0.0 <= self.start && self.start < self.end && self.end <= 1.0) {
            return bad("start and end are not in 0..1, or start is not below end");
        }
        Ok(())
    }

    /// The picture that the ControlNet sees, in the job's size.
    pub(super) fn picture(&self, width: u32, height: u32) -> Cow<'_, Rgb> {
        let resized = self.image.resized(width, height);
        match self.edges {
            None => resized,
            Some(thresholds) => Cow::Owned(canny::edges(&resized, thresholds)),
        }
    }

    /// Whether it counts in the 0-based step of so many, by diffusers' rule of `control_guidance_start` and
    /// `control_guidance_end`.
    pub(super) fn covers(&self, step: usize, steps: usize) -> bool {
        let (step, steps) = (step as f64, steps as f64);
        step / steps >= self.start && (step + 1.0) / steps <= self.end
    }
}
