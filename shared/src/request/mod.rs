//! What a client asks for, before ([`ImageRequest`]) and after ([`ImageSpec`]) it is checked.
//!
//! A request is checked once, where it enters; what is past that door is an [`ImageSpec`], which cannot hold a
//! wrong value. The rules are the table in `docs/protocol.md`.

mod check;
mod field_error;
mod fields;
mod input_image;
mod jpeg;
mod lora;
mod object;
mod pictures;
mod size;
mod webp;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use check::{Defaults, Offer, Unknown};
pub use field_error::{FieldError, Loc};
pub use input_image::{InputFormat, InputImage, InputImageError, MAX_INPUT_IMAGE_BYTES};
pub use lora::{Lora, LoraName, NoLoraName};
pub use object::parse_object;
pub use pictures::{Fetched, NotFetched, PictureSource, picture_sources};

use pictures::Original;

/// The pictures to make when a request does not say: diffusers' example for SDXL, as fal streams it.
mod default {
    pub(super) const NEGATIVE_PROMPT: &str = "blurry, low quality";
    pub(super) const NUM_INFERENCE_STEPS: u32 = 20;
    pub(super) const GUIDANCE_SCALE: f64 = 5.0;
    pub(super) const PREVIEW_EVERY: u32 = 5;
}

/// The largest seed: what a JSON number holds exactly.
pub const MAX_SEED: u64 = 1 << 53;

/// The smallest picture, width times height.
pub const MIN_PIXELS: u64 = 64 * 64;

/// The largest picture that any app makes, width times height.
pub const MAX_PIXELS: u64 = 2048 * 1024;

/// The most pictures of one request.
pub const MAX_IMAGES: u64 = 4;

/// A request as a client writes it, unchecked. Members left out take their defaults where it is checked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ImageRequest {
    /// What to draw.
    pub prompt: String,
    /// What not to draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// Denoising steps, 1 to 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_inference_steps: Option<i64>,
    /// Pixels, a multiple of 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<i64>,
    /// Pixels, a multiple of 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<i64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_rescale: Option<f64>,
    /// 0 to 12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_skip: Option<i64>,
    /// Changes to the model, at most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraRequest>,
    /// The picture to begin from: a data URI, or an address if the server fetches any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where to repaint it, as a picture: white is repainted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// The share of the steps to take from the picture, above 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// 0 to 2^53.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Encoding of the final pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_format: Option<OutputFormat>,
}

/// A change to the model as a client asks for it, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LoraRequest {
    /// The file, under the workers' folder of LoRAs.
    pub path: String,
    /// -10 to 10; 1 if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
}

/// What a preview shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreviewSource {
    /// What the sampler holds, as fal's example shows it.
    Latents,
    /// The sampler's estimate of the end: clear far sooner.
    Denoised,
}

/// How the final pictures are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// `image/jpeg`, quality 95.
    Jpeg,
    /// `image/png`.
    Png,
    /// `image/webp`, lossless.
    Webp,
}

impl OutputFormat {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }
}

/// A checked request: every value is in its range and every default is filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageSpec {
    prompt: String,
    negative_prompt: String,
    num_inference_steps: u32,
    width: u32,
    height: u32,
    guidance_scale: f64,
    #[serde(default)]
    guidance_rescale: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clip_skip: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    loras: Vec<Lora>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original: Option<Box<Original>>,
    seed: u64,
    num_images: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheduler: Option<String>,
    preview_every: u32,
    preview_source: PreviewSource,
    output_format: OutputFormat,
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

    /// Denoising steps: 1 to 50.
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

    /// How strongly the prompt pulls: 0 to 30; guidance is on above 1.
    pub fn guidance_scale(&self) -> f64 {
        self.guidance_scale
    }

    /// 0 to 1: how far the spread of the guided prediction is brought back.
    pub fn guidance_rescale(&self) -> f64 {
        self.guidance_rescale
    }

    /// 0 to 12: layers of the text encoders to leave out at the end, as diffusers counts them, to whom 0 and none
    /// are the same layer.
    pub fn clip_skip(&self) -> Option<u32> {
        self.clip_skip
    }

    /// Changes to the model, at most 8.
    pub fn loras(&self) -> &[Lora] {
        &self.loras
    }

    /// What a worker had best have loaded for this request: a digest of its LoRAs, in their order and with their
    /// scales; `None` without any. See [`Job::affinity`](crate::job::Job::affinity).
    pub fn affinity(&self) -> Option<String> {
        if self.loras.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        for lora in &self.loras {
            // A name has no NUL in it.
            hash.update(lora.name().as_str());
            hash.update([0]);
            hash.update(lora.scale().to_le_bytes());
        }
        Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The picture to begin from; of any size.
    pub fn image(&self) -> Option<&InputImage> {
        self.original.as_ref().map(|original| &original.image)
    }

    /// Where to repaint the picture to begin from: white is repainted. Of any size; never without
    /// [`ImageSpec::image`].
    pub fn mask(&self) -> Option<&InputImage> {
        self.original.as_ref()?.mask.as_ref()
    }

    /// The share of the steps to take, above 0 to 1: less than 1 only with [`ImageSpec::image`], which keeps the
    /// more of itself the fewer they are.
    pub fn strength(&self) -> f64 {
        self.original.as_ref().map_or(1.0, |original| original.strength)
    }

    /// How many of the [`num_inference_steps`](ImageSpec::num_inference_steps) are taken: at least 1.
    pub fn steps_to_take(&self) -> u32 {
        Original::steps(self.strength(), self.num_inference_steps)
    }

    /// 0 to 2^53: the same seed gives the same pictures.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many pictures: 1 to 4.
    pub fn num_images(&self) -> u32 {
        self.num_images
    }

    /// A scheduler that a worker of the app offers; `None` for the checkpoint's own.
    pub fn scheduler(&self) -> Option<&str> {
        self.scheduler.as_deref()
    }

    /// What a preview shows.
    pub fn preview_source(&self) -> PreviewSource {
        self.preview_source
    }

    /// How the final pictures are encoded.
    pub fn output_format(&self) -> OutputFormat {
        self.output_format
    }

    /// Whether a preview follows the 0-based step `step`.
    pub fn has_preview_after(&self, step: u32) -> bool {
        self.preview_every != 0 && step.is_multiple_of(self.preview_every)
    }
}
