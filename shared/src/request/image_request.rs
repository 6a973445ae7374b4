//! A request for pictures, as a client writes it.

use serde::Serialize;
use serde_json::Value;

use crate::prompt::PromptSyntax;

use super::output::{OutputFormat, PreviewSource};

/// A request as a client writes it, unchecked. The check adds the defaults of missing members.
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
    /// 0 to 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_rescale: Option<f64>,
    /// 0 to 12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_skip: Option<i64>,
    /// How the prompts are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_syntax: Option<PromptSyntax>,
    /// Whether a long prompt is read in chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_prompt: Option<bool>,
    /// Changes to the model, at most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraRequest>,
    /// ControlNets, at most 3.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub controlnets: Vec<ControlNetRequest>,
    /// Words of the prompts that are not the model's own, at most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<EmbeddingRequest>,
    /// The input picture: a data URI, or a URL if the server fetches pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The mask of the input picture: white is repainted; `alpha` is where it is transparent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// The share of the steps that are run, above 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// Where the refiner goes on, above 0 to 0.999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denoising_end: Option<f64>,
    /// 0 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aesthetic_score: Option<f64>,
    /// 0 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_aesthetic_score: Option<f64>,
    /// The margin around the mask in pixels, 0 to 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding_mask_crop: Option<i64>,
    /// A second pass at a larger size: a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hires: Option<Value>,
    /// 0 to 2^53.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// One for each picture, 1 to 4.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<i64>,
    /// How many pictures, 1 to 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_images: Option<i64>,
    /// A scheduler that a worker of the app offers, by diffusers' name or another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// Changes to the scheduler's configuration: a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_config: Option<Value>,
    /// The noise levels of the steps; the last is that after the last step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sigmas: Vec<f64>,
    /// The timesteps of the steps, 999 to 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timesteps: Vec<i64>,
    /// How much noise a step adds, 0 to 1, for the samplers that have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// Defaults for models of few steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Steps between two previews, up to 50; 0 for no previews.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_every: Option<i64>,
    /// What previews show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_source: Option<PreviewSource>,
    /// Encoding of the final pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_format: Option<OutputFormat>,
    /// Whether the final pictures carry their recipe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<bool>,
}

/// A LoRA of a request, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LoraRequest {
    /// A file under the workers' folder of LoRAs, an http or https URL, or `hf://OWNER/NAME[@REVISION][/FILE]`.
    pub path: String,
    /// -10 to 10; 1 if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The scale in the UNet; `scale` if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unet_scale: Option<f64>,
    /// The scale in the text encoders; `scale` if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_scale: Option<f64>,
}

/// A ControlNet of a request, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ControlNetRequest {
    /// A folder or a file under the workers' folder of ControlNets, `OWNER/NAME` on the Hub,
    /// `hf://OWNER/NAME[@REVISION][/FILE]`, or an http or https URL.
    pub path: String,
    /// Its picture: a data URI, or a URL if the server fetches pictures.
    pub image: String,
    /// 0 to 2; 1 if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The share of the steps before it begins; 0 if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// The share of the steps after which it has ended; 1 if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
    /// The kind of its picture, for a ControlNet of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<i64>,
    /// How its picture is made from the sent one: `canny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<String>,
    /// The lower threshold of `canny`, a whole number; 100 if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_threshold: Option<f64>,
    /// The upper threshold of `canny`, a whole number; 200 if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_threshold: Option<f64>,
}

/// An embedding of a request, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EmbeddingRequest {
    /// A file under the workers' folder of embeddings, an http or https URL, or `hf://OWNER/NAME[@REVISION][/FILE]`.
    pub path: String,
    /// What stands in a prompt for it; the name of its file if the request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}
