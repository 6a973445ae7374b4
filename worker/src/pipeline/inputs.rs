//! The inputs of a picture, with the names and defaults of diffusers' `StableDiffusionXLPipeline`.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::error::PipelineError;
use super::picture::Rgb;
use crate::noise::GeneratorKind;

/// The maximum of pictures of one job: their latents are computed at once.
const MAX_PICTURES: usize = 64;

/// Height and width, or top and left, in pixels: the order that SDXL's conditioning has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Height, or distance from the top.
    pub vertical: u32,
    /// Width, or distance from the left.
    pub horizontal: u32,
}

/// A sampler other than the checkpoint's own.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerChoice {
    /// One of [`super::Description::schedulers`]; the checkpoint's own if there is none.
    pub name: Option<String>,
    /// Keys of `scheduler_config.json` to replace.
    pub changes: Map<String, Value>,
}

/// A LoRA file and how strongly it acts.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Its name in the request, for messages: the client must not see its path.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// 1 is the trained strength, 0 is none.
    pub scale: f64,
}

impl Lora {
    /// A file by its own name.
    pub fn file(path: impl Into<PathBuf>, scale: f64) -> Self {
        let path = path.into();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, path, scale }
    }
}

/// One request for pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// What to show.
    pub prompt: String,
    /// The same for the second text encoder; [`Inputs::prompt`] if absent or empty.
    pub prompt_2: Option<String>,
    /// What to avoid. `None` is not the empty text: SDXL has zeros for it.
    pub negative_prompt: Option<String>,
    /// The same for the second text encoder; [`Inputs::negative_prompt`] if absent or empty.
    pub negative_prompt_2: Option<String>,
    /// Steps to take.
    pub num_inference_steps: usize,
    /// Weight of the prompt (Ho and Salimans 2022); no guidance at 1 and below.
    pub guidance_scale: f64,
    /// 0..1: how far the spread of the guided prediction is brought back (Lin et al. 2023, section 3.4).
    pub guidance_rescale: f64,
    /// Width of the pictures in pixels.
    pub width: u32,
    /// Height of the pictures in pixels.
    pub height: u32,
    /// Decides the noise, and with it the pictures.
    pub seed: u64,
    /// How the seed becomes noise; the pipeline's own way if `None`.
    pub generator: Option<GeneratorKind>,
    /// Pictures to make at once; picture k has the k-th part of one draw of noise.
    pub num_images_per_prompt: usize,
    /// Layers of the text encoders to leave out at the end, besides the last.
    pub clip_skip: Option<usize>,
    /// Size before cropping that the picture should look like; the picture's own if `None`.
    pub original_size: Option<Size>,
    /// Where it should look cropped.
    pub crops_coords_top_left: Size,
    /// Size that it should look made for; the picture's own if `None`.
    pub target_size: Option<Size>,
    /// As [`Inputs::original_size`], for what to avoid. Without this or
    /// [`Inputs::negative_target_size`] the negative half has the sizes of the positive one.
    pub negative_original_size: Option<Size>,
    /// As [`Inputs::crops_coords_top_left`], for what to avoid.
    pub negative_crops_coords_top_left: Size,
    /// As [`Inputs::target_size`], for what to avoid.
    pub negative_target_size: Option<Size>,
    /// The sampler; the checkpoint's own if `None`.
    pub scheduler: Option<SchedulerChoice>,
    /// The input picture. One of another size is resized as in diffusers' `VaeImageProcessor`.
    pub image: Option<Rgb>,
    /// With an input picture: white where it changes, black where it stays.
    pub mask: Option<Rgb>,
    /// Changes of the weights for this job, added up.
    pub loras: Vec<Lora>,
    /// 0..1, with an image: the share of the steps that are run; more steps keep less of the picture.
    pub strength: f64,
}

impl Inputs {
    /// Inputs with diffusers' defaults for everything else.
    pub fn new(prompt: impl Into<String>, width: u32, height: u32) -> Self {
        Self {
            prompt: prompt.into(),
            prompt_2: None,
            negative_prompt: None,
            negative_prompt_2: None,
            num_inference_steps: 50,
            guidance_scale: 5.0,
            guidance_rescale: 0.0,
            width,
            height,
            seed: 0,
            generator: None,
            num_images_per_prompt: 1,
            clip_skip: None,
            original_size: None,
            crops_coords_top_left: Size { vertical: 0, horizontal: 0 },
            target_size: None,
            negative_original_size: None,
            negative_crops_coords_top_left: Size { vertical: 0, horizontal: 0 },
            negative_target_size: None,
            scheduler: None,
            image: None,
            mask: None,
            loras: Vec::new(),
            strength: 0.3,
        }
    }

    /// Whether each step needs two predictions of the UNet.
    pub fn guided(&self) -> bool {
        self.guidance_scale > 1.0
    }

    /// Checks what does not depend on the checkpoint's text encoders or sampler.
    pub(super) fn check(&self, multiple: u32, max_pixels: u64) -> Result<(), PipelineError> {
        for (field, side) in [("width", self.width), ("height", self.height)] {
            if side == 0 || !side.is_multiple_of(multiple) {
                return Err(PipelineError::bad(field, format!("{side} is not a multiple of {multiple}")));
            }
        }
        let pixels = u64::from(self.width) * u64::from(self.height);
        if pixels > max_pixels {
            return Err(PipelineError::bad("width", format!("{pixels} pixels are more than {max_pixels}")));
        }
        if !(1..=MAX_PICTURES).contains(&self.num_images_per_prompt) {
            let message = format!("{} pictures, not 1 to {MAX_PICTURES}", self.num_images_per_prompt);
            return Err(PipelineError::bad("num_images", message));
        }
        if !self.guidance_scale.is_finite() {
            return Err(PipelineError::bad("guidance_scale", "is not a finite number"));
        }
        if !(0.0..=1.0).contains(&self.guidance_rescale) {
            return Err(PipelineError::bad("guidance_rescale", "is not in 0..1"));
        }
        for (field, image) in [("image", &self.image), ("mask", &self.mask)] {
            if image.as_ref().is_some_and(|image| !image.is_whole()) {
                return Err(PipelineError::bad(field, "has another number of bytes than its size says"));
            }
        }
        if self.mask.is_some() && self.image.is_none() {
            return Err(PipelineError::bad("mask", "needs an image"));
        }
        if self.image.is_some() && !(0.0..=1.0).contains(&self.strength) {
            return Err(PipelineError::bad("strength", "is not in 0..1"));
        }
        Ok(())
    }

    /// The six numbers of SDXL's size conditioning, for the prompt and for what to avoid.
    pub(super) fn time_ids(&self) -> ([f32; 6], [f32; 6]) {
        let own = Size { vertical: self.height, horizontal: self.width };
        let six = |o: Size, c: Size, t: Size| {
            [o.vertical, o.horizontal, c.vertical, c.horizontal, t.vertical, t.horizontal].map(|n| n as f32)
        };
        let positive = six(
            self.original_size.unwrap_or(own),
            self.crops_coords_top_left,
            self.target_size.unwrap_or(own),
        );
        let negative = match (self.negative_original_size, self.negative_target_size) {
            (Some(original), Some(target)) => six(original, self.negative_crops_coords_top_left, target),
            // From a picture, each negative size that is not given is the positive one.
            (original, target) if self.image.is_some() => six(
                original.or(self.original_size).unwrap_or(own),
                self.negative_crops_coords_top_left,
                target.or(self.target_size).unwrap_or(own),
            ),
            _ => positive,
        };
        (positive, negative)
    }
}
