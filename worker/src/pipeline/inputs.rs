//! The inputs of a job, with the names and defaults of diffusers' `StableDiffusionXLPipeline`.

use std::path::PathBuf;

use glimpse_shared::{prompt::PromptSyntax, request::limits::SCORES};
use serde_json::{Map, Value};

use super::control_choice::ControlChoice;
use super::embedding_choice::EmbeddingChoice;
use super::error::PipelineError;
use super::picture::Rgb;
use crate::noise::GeneratorKind;

/// The most pictures of one job: their latents are computed at once.
const MAX_PICTURES: usize = 64;

/// A size, or the top left corner of a crop, in pixels: one of the pairs in SDXL's size conditioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeightWidth {
    /// Height, or distance from the top.
    pub height: u32,
    /// Width, or distance from the left.
    pub width: u32,
}

/// A sampler other than the checkpoint's own.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerChoice {
    /// One of [`super::Description::schedulers`]; the checkpoint's own if there is none.
    pub name: Option<String>,
    /// Keys of `scheduler_config.json` to replace.
    pub changes: Map<String, Value>,
}

/// A LoRA file and its scale.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraChoice {
    /// Its name in the request, for messages: the client must not see its path.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// 1 is the trained strength, 0 is none.
    pub scale: f64,
    /// The strength in the UNet alone; `scale` if `None`.
    pub unet_scale: Option<f64>,
    /// The strength in both text encoders; `scale` if `None`.
    pub text_scale: Option<f64>,
}

impl LoraChoice {
    /// A LoRA that is named like its file.
    pub fn file(path: impl Into<PathBuf>, scale: f64) -> Self {
        let path = path.into();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, path, scale, unet_scale: None, text_scale: None }
    }
}

/// Latents in place of an input picture, such as those of a base model for a refiner.
#[derive(Debug, Clone, PartialEq)]
pub struct InputLatents {
    /// B or 1, C, h, w.
    pub shape: [usize; 4],
    /// In the UNet's scale.
    pub values: Vec<f32>,
}

/// A request whose first steps a job takes again, before it goes on by its own.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlierInputs {
    /// The other request, of the same pictures.
    pub inputs: Inputs,
    /// The last step that is taken by it, counted from 0.
    pub step: usize,
}

/// A second pass at a larger size: the decoded pictures are resized by the Lanczos filter, and image-to-image goes on
/// from there, with a new generator of the same seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hires {
    /// Each side times this, rounded to a multiple of what a latent is wide.
    pub scale: f64,
    /// 0..1: the share of the steps that are run.
    pub strength: f64,
    /// Number of steps of the second pass.
    pub steps: usize,
}

/// How sizes are told to a UNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SizeRule {
    /// As in `StableDiffusionXLPipeline`.
    TextToImage,
    /// As in `StableDiffusionXLImg2ImgPipeline` and `…InpaintPipeline`.
    ImageToImage,
    /// The same for a refiner: an aesthetic score is in place of the target size.
    Scores,
}

/// The inputs of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// What the picture shows.
    pub prompt: String,
    /// The prompt for the second text encoder; [`Inputs::prompt`] if absent or empty.
    pub prompt_2: Option<String>,
    /// What the picture does not show. `None` differs from the empty text: SDXL uses zeros for it.
    pub negative_prompt: Option<String>,
    /// The negative prompt for the second text encoder; [`Inputs::negative_prompt`] if absent or empty.
    pub negative_prompt_2: Option<String>,
    /// How all of them are read.
    pub prompt_syntax: PromptSyntax,
    /// Whether long prompts are read in chunks of as many tokens as the text encoders read at once, also in the plain
    /// syntax. Without it a long prompt is truncated there.
    pub long_prompt: bool,
    /// Number of steps.
    pub num_inference_steps: usize,
    /// Scale of classifier-free guidance (Ho and Salimans 2022); 1 and below: no guidance.
    pub guidance_scale: f64,
    /// 0..1: how much the guided prediction is rescaled (Lin et al. 2023, section 3.4).
    pub guidance_rescale: f64,
    /// Width of the pictures in pixels.
    pub width: u32,
    /// Height of the pictures in pixels.
    pub height: u32,
    /// The seed of the noise.
    pub seed: u64,
    /// A seed for each picture, which is then made as if it were alone; empty if [`Inputs::seed`] is that of all.
    pub seeds: Vec<u64>,
    /// The generator of the noise; the pipeline's own if `None`.
    pub generator: Option<GeneratorKind>,
    /// Number of pictures. Without [`Inputs::seeds`] picture k has the k-th part of one draw of noise.
    pub num_images_per_prompt: usize,
    /// Number of last layers of the text encoders to skip, besides the last layer.
    pub clip_skip: Option<usize>,
    /// Conditioning: size before cropping; the picture's size if `None`.
    pub original_size: Option<HeightWidth>,
    /// Conditioning: top left corner of the crop.
    pub crops_coords_top_left: HeightWidth,
    /// Conditioning: target size; the picture's size if `None`.
    pub target_size: Option<HeightWidth>,
    /// [`Inputs::original_size`] of the negative half. Without this or [`Inputs::negative_target_size`] the negative
    /// half has the sizes of the positive one.
    pub negative_original_size: Option<HeightWidth>,
    /// [`Inputs::crops_coords_top_left`] of the negative half.
    pub negative_crops_coords_top_left: HeightWidth,
    /// [`Inputs::target_size`] of the negative half.
    pub negative_target_size: Option<HeightWidth>,
    /// The sampler; the checkpoint's own if `None`.
    pub scheduler: Option<SchedulerChoice>,
    /// The input picture. Another size than `width` x `height` is resized as by diffusers' `VaeImageProcessor`.
    pub image: Option<Rgb>,
    /// Inpainting mask for the input picture: white changes, black stays.
    pub mask: Option<Rgb>,
    /// The LoRAs of this job; their changes are summed.
    pub loras: Vec<LoraChoice>,
    /// The ControlNets of this job; their residuals are summed.
    pub controlnets: Vec<ControlChoice>,
    /// The embeddings of this job.
    pub embeddings: Vec<EmbeddingChoice>,
    /// 0..1: the share of the steps that are run on the input picture. A larger value keeps less of it.
    pub strength: f64,
    /// Latents in place of [`Inputs::image`].
    pub latents: Option<InputLatents>,
    /// 0..1: the share of the noise that is gone already. The steps after it are run, in place of those of
    /// [`Inputs::strength`], and no noise is added.
    pub denoising_start: Option<f64>,
    /// 0..1: the share of the noise after which the job ends, or after which the refiner goes on.
    pub denoising_end: Option<f64>,
    /// Whether the refiner runs the steps after [`Inputs::denoising_end`]; else the job ends with latents.
    pub refined: bool,
    /// Conditioning of a refiner: the score of a picture of this kind, about 1 to 10; 6 if `None`.
    pub aesthetic_score: Option<f64>,
    /// [`Inputs::aesthetic_score`] of the negative half; 2.5 if `None`.
    pub negative_aesthetic_score: Option<f64>,
    /// Inpainting in the part of the picture around the mask, with this margin in pixels. The part is enlarged to
    /// `width` x `height`, and pasted back into the picture of its own size.
    pub padding_mask_crop: Option<u32>,
    /// A second pass at a larger size.
    pub hires: Option<Hires>,
    /// Where the job goes on from another request.
    pub from: Option<Box<EarlierInputs>>,
}

impl Inputs {
    /// Inputs with diffusers' defaults for all other fields.
    pub fn new(prompt: impl Into<String>, width: u32, height: u32) -> Self {
        Self {
            prompt: prompt.into(),
            prompt_2: None,
            negative_prompt: None,
            negative_prompt_2: None,
            prompt_syntax: PromptSyntax::Plain,
            long_prompt: false,
            num_inference_steps: 50,
            guidance_scale: 5.0,
            guidance_rescale: 0.0,
            width,
            height,
            seed: 0,
            seeds: Vec::new(),
            generator: None,
            num_images_per_prompt: 1,
            clip_skip: None,
            original_size: None,
            crops_coords_top_left: HeightWidth { height: 0, width: 0 },
            target_size: None,
            negative_original_size: None,
            negative_crops_coords_top_left: HeightWidth { height: 0, width: 0 },
            negative_target_size: None,
            scheduler: None,
            image: None,
            mask: None,
            loras: Vec::new(),
            controlnets: Vec::new(),
            embeddings: Vec::new(),
            strength: 0.3,
            latents: None,
            denoising_start: None,
            denoising_end: None,
            refined: false,
            aesthetic_score: None,
            negative_aesthetic_score: None,
            padding_mask_crop: None,
            hires: None,
            from: None,
        }
    }

    /// Whether there is guidance: each step then needs two predictions of the UNet.
    pub fn guided(&self) -> bool {
        self.guidance_scale > 1.0
    }

    /// Whether the job starts from a picture or from latents.
    pub fn is_image_to_image(&self) -> bool {
        self.image.is_some() || self.latents.is_some()
    }

    /// Checks the inputs that do not depend on the text encoders or the sampler.
    pub(super) fn check(&self, multiple: u32, max_pixels: u64) -> Result<(), PipelineError> {
        for (field, side) in [("width", self.width), ("height", self.height)] {
            if side == 0 || !side.is_multiple_of(multiple) {
                return Err(PipelineError::bad(field, format!("{side} is not a multiple of {multiple}")));
            }
        }
        let pixels = u64::from(self.width) * u64::from(self.height);
        if pixels > max_pixels {
            return Err(PipelineError::bad(
                "width",
                format!("width times height is {pixels} pixels, and the limit is {max_pixels}"),
            ));
        }
        if !(1..=MAX_PICTURES).contains(&self.num_images_per_prompt) {
            let message = format!("{} is not in 1 to {MAX_PICTURES}", self.num_images_per_prompt);
            return Err(PipelineError::bad("num_images", message));
        }
        if !self.seeds.is_empty() && self.seeds.len() != self.num_images_per_prompt {
            let (seeds, pictures) = (self.seeds.len(), self.num_images_per_prompt);
            let message = format!("there are {seeds} of them for {pictures} pictures: name one for each");
            return Err(PipelineError::bad("seeds", message));
        }
        if !self.guidance_scale.is_finite() {
            return Err(PipelineError::bad("guidance_scale", "is not a finite number"));
        }
        if !(0.0..=1.0).contains(&self.guidance_rescale) {
            return Err(PipelineError::bad("guidance_rescale", "is not in 0..1"));
        }
        for (field, image) in [("image", &self.image), ("mask", &self.mask)] {
            if image.as_ref().is_some_and(|image| !image.is_whole()) {
                return Err(PipelineError::bad(field, "does not have as many bytes as its size needs"));
            }
        }
        self.controlnets.iter().try_for_each(ControlChoice::check)?;
        if self.mask.is_some() && self.image.is_none() {
            return Err(PipelineError::bad("mask", "needs an image"));
        }
        if self.is_image_to_image() && !(0.0..=1.0).contains(&self.strength) {
            return Err(PipelineError::bad("strength", "is not in 0..1"));
        }
        self.check_parts()
    }

    /// The numbers of SDXL's size conditioning, for the positive and the negative half; `own` is the pictures' size.
    pub(super) fn time_ids(&self, own: HeightWidth, rule: SizeRule) -> (Vec<f32>, Vec<f32>) {
        let original = self.original_size.unwrap_or(own);
        let target = self.target_size.unwrap_or(own);
        let six = |o: HeightWidth, c: HeightWidth, t: HeightWidth| {
            [o.height, o.width, c.height, c.width, t.height, t.width].map(|n| n as f32).to_vec()
        };
        let five = |o: HeightWidth, c: HeightWidth, score: f64| {
            let mut row = [o.height, o.width, c.height, c.width].map(|n| n as f32).to_vec();
            row.push(score as f32);
            row
        };
        // Image-to-image: each missing negative size is the positive one.
        let avoided = self.negative_original_size.unwrap_or(original);
        let (crop, avoided_crop) = (self.crops_coords_top_left, self.negative_crops_coords_top_left);
        if rule == SizeRule::Scores {
            let scores = [self.aesthetic_score, self.negative_aesthetic_score];
            let [score, negative] = [0, 1].map(|i| scores[i].unwrap_or(SCORES[i]));
            return (five(original, crop, score), five(avoided, avoided_crop, negative));
        }
        let positive = six(original, crop, target);
        let negative = match (rule, self.negative_original_size, self.negative_target_size) {
            (SizeRule::TextToImage, Some(original), Some(target)) => six(original, avoided_crop, target),
            (SizeRule::TextToImage, ..) => positive.clone(),
            // As diffusers: the negative crop has no effect here.
            (_, _, avoided_target) => six(avoided, crop, avoided_target.unwrap_or(target)),
        };
        (positive, negative)
    }

    /// The size of the pictures.
    pub(super) fn size(&self) -> HeightWidth {
        HeightWidth { height: self.height, width: self.width }
    }
}
