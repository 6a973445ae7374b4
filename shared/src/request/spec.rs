//! A checked request.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    controlnet::ControlNet,
    embedding::Embedding,
    input_image::InputImage,
    lora::Lora,
    output::{OutputFormat, PreviewSource},
    partials::Partials,
    parts::{Hires, Parts},
    pictures::Original,
    size::Size,
};
use crate::{event::Warning, prompt::PromptSyntax};

/// A checked request: every value is in its range and every default is filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageSpec {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    pub(super) num_inference_steps: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) guidance_scale: f64,
    #[serde(default)]
    pub(super) guidance_rescale: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clip_skip: Option<u32>,
    #[serde(default, skip_serializing_if = "PromptSyntax::is_plain")]
    pub(super) prompt_syntax: PromptSyntax,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) long_prompt: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) loras: Vec<Lora>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) controlnets: Vec<ControlNet>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) embeddings: Vec<Embedding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) original: Option<Box<Original>>,
    #[serde(default, skip_serializing_if = "Parts::are_none")]
    pub(super) parts: Parts,
    pub(super) seed: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) seeds: Vec<u64>,
    pub(super) num_images: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scheduler: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(super) scheduler_config: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Branch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) finish_at_step: Option<u32>,
    pub(super) preview_every: u32,
    #[serde(default, skip_serializing_if = "Partials::is_empty")]
    pub(super) partials: Partials,
    pub(super) preview_source: PreviewSource,
    pub(super) output_format: OutputFormat,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) jpeg_quality: Option<u8>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) data_uris: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) no_metadata: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<Warning>,
}

/// Where a job goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    pub(super) request: Box<ImageSpec>,
    pub(super) step: u32,
}

impl Branch {
    /// The request that makes the steps before, without its pictures: they are those of the job.
    pub fn request(&self) -> &ImageSpec {
        &self.request
    }

    /// The last of these steps, counted from 0.
    pub fn step(&self) -> u32 {
        self.step
    }
}

impl ImageSpec {
    /// What to draw: 1 to 10,000 characters.
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// What not to draw.
    pub fn negative_prompt(&self) -> &str {
        &self.negative_prompt
    }

    /// Denoising steps: 1 to 50, or as many as [`scheduler_config`](ImageSpec::scheduler_config) lists, at most 150.
    pub fn num_inference_steps(&self) -> u32 {
        self.num_inference_steps
    }

    /// Pixels: a multiple of 8.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels: a multiple of 8.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The strength of the guidance by the prompt: 0 to 30. There is no guidance up to 1.
    pub fn guidance_scale(&self) -> f64 {
        self.guidance_scale
    }

    /// How much the standard deviation of the guided prediction is restored: 0 to 1.
    pub fn guidance_rescale(&self) -> f64 {
        self.guidance_rescale
    }

    /// How many last layers of the text encoders to skip, as diffusers counts them: 0 to 12. 0 and `None` mean the
    /// same.
    pub fn clip_skip(&self) -> Option<u32> {
        self.clip_skip
    }

    /// How both prompts are read.
    pub fn prompt_syntax(&self) -> PromptSyntax {
        self.prompt_syntax
    }

    /// Whether the text encoders read a long prompt in chunks. Without it, and in the plain syntax, its end has no effect.
    pub fn long_prompt(&self) -> bool {
        self.long_prompt
    }

    /// Changes to the model, at most 8: those of the request, then those that the prompt names.
    pub fn loras(&self) -> &[Lora] {
        &self.loras
    }

    /// ControlNets, at most 3.
    pub fn controlnets(&self) -> &[ControlNet] {
        &self.controlnets
    }

    /// Words of the prompts that are not the model's own, at most 8.
    pub fn embeddings(&self) -> &[Embedding] {
        &self.embeddings
    }

    /// What a worker should have loaded for this request: a digest of its LoRAs, in their order and with their scales,
    /// and of the names of its ControlNets; `None` without both. See [`Job::affinity`](crate::job::Job::affinity).
    pub fn affinity(&self) -> Option<String> {
        if self.loras.is_empty() && self.controlnets.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        for lora in &self.loras {
            // A path contains no NUL.
            hash.update(lora.path().full_text());
            hash.update([0]);
            hash.update(lora.scale().to_le_bytes());
            for (part, scale) in [(1, lora.unet_scale()), (2, lora.text_scale())] {
                if let Some(scale) = scale {
                    hash.update([part]);
                    hash.update(scale.to_le_bytes());
                }
            }
        }
        for controlnet in &self.controlnets {
            hash.update([3]);
            hash.update(controlnet.path().full_text());
            hash.update([0]);
        }
        Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The input picture, of any size.
    pub fn image(&self) -> Option<&InputImage> {
        self.original.as_ref().map(|original| &original.image)
    }

    /// The mask, of any size: white is repainted. Only with [`ImageSpec::image`].
    pub fn mask(&self) -> Option<&InputImage> {
        self.original.as_ref()?.mask.as_ref()
    }

    /// The share of the steps that are run: above 0, at most 1. Without [`ImageSpec::image`] it is 1. Fewer steps keep
    /// more of the input picture.
    pub fn strength(&self) -> f64 {
        self.original.as_ref().map_or(1.0, |original| original.strength)
    }

    /// How many steps are run: at least 1 of the [`num_inference_steps`](ImageSpec::num_inference_steps), and those of
    /// [`hires`](ImageSpec::hires).
    pub fn steps_to_take(&self) -> u32 {
        self.branched_steps(Original::steps(self.strength(), self.num_inference_steps)) + self.parts.steps()
    }

    /// Where the refiner goes on: above 0, below 1. `None` without a refiner.
    pub fn denoising_end(&self) -> Option<f64> {
        self.parts.denoising_end
    }

    /// What a refiner is told of the picture: 0 to 10.
    pub fn aesthetic_score(&self) -> Option<f64> {
        self.parts.aesthetic_score
    }

    /// What a refiner is told of the negative prompt's picture: 0 to 10.
    pub fn negative_aesthetic_score(&self) -> Option<f64> {
        self.parts.negative_aesthetic_score
    }

    /// The margin around the mask, in pixels: that part of the input picture is repainted in the size of this request,
    /// and pasted back. Only with a mask of the picture's size.
    pub fn padding_mask_crop(&self) -> Option<u32> {
        self.parts.padding_mask_crop
    }

    /// A second pass at a larger size.
    pub fn hires(&self) -> Option<Hires> {
        self.parts.hires
    }

    /// Width and height of the largest picture that the job computes, in pixels.
    pub fn largest(&self) -> (u32, u32) {
        let Size { width, height } = self.parts.largest(Size { width: self.width, height: self.height });
        (width, height)
    }

    /// The seed: 0 to 2^53. The same seed gives the same pictures.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The seed of each picture, as many as there are pictures; empty if one generator makes all of them. The first is
    /// [`ImageSpec::seed`].
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    /// How many pictures: 1 to 4.
    pub fn num_images(&self) -> u32 {
        self.num_images
    }

    /// A scheduler that a worker of the app offers; `None` for the checkpoint's own.
    pub fn scheduler(&self) -> Option<&str> {
        self.scheduler.as_deref()
    }

    /// Changes to the scheduler's configuration: keys of diffusers' `scheduler_config.json`, with values in their bounds.
    pub fn scheduler_config(&self) -> &Map<String, Value> {
        &self.scheduler_config
    }

    /// The step after which the job finishes early, counted from 0. A job without such a step ends as usual.
    pub fn finish_at_step(&self) -> Option<u32> {
        self.finish_at_step
    }

    /// What a preview shows.
    pub fn preview_source(&self) -> PreviewSource {
        self.preview_source
    }

    /// How the final pictures are encoded.
    pub fn output_format(&self) -> OutputFormat {
        self.output_format
    }

    /// Whether the final pictures are data URIs inside the result, also if the fleet keeps results elsewhere.
    pub fn data_uris(&self) -> bool {
        self.data_uris
    }

    /// Whether the final pictures carry their recipe, if the worker writes it.
    pub fn has_metadata(&self) -> bool {
        !self.no_metadata
    }

    /// The quality of the final pictures, 1 to 100, if they are JPEGs; `None` for the default.
    pub fn jpeg_quality(&self) -> Option<u8> {
        self.jpeg_quality
    }

    /// The partial pictures.
    pub fn partials(&self) -> Partials {
        self.partials
    }

    /// The parts of the request that were accepted without an effect. They belong to the result's warnings.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Steps between two previews; 0 for none.
    pub fn preview_every(&self) -> u32 {
        self.preview_every
    }

    /// Whether there are previews, or partial pictures.
    pub fn has_previews(&self) -> bool {
        self.preview_every != 0 || !self.partials.is_empty()
    }

    /// Whether a preview follows the 0-based step `step`.
    pub fn has_preview_after(&self, step: u32) -> bool {
        self.preview_every != 0 && step.is_multiple_of(self.preview_every)
    }
}
