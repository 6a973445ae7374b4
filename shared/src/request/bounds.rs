//! The bounds of a request's numbers and texts, and the defaults of its fields.

/// The largest seed: what a JSON number holds exactly.
pub const MAX_SEED: u64 = 1 << 53;

/// The smallest picture, width times height.
pub const MIN_PIXELS: u64 = 64 * 64;

/// The largest picture that any app makes, width times height.
pub const MAX_PIXELS: u64 = 2048 * 1024;

/// The most pictures of one request.
pub const MAX_IMAGES: u64 = 4;

/// Defaults of a request: diffusers' example for SDXL, as fal streams it.
pub mod default {
    /// What not to draw.
    pub const NEGATIVE_PROMPT: &str = "blurry, low quality";
    /// Denoising steps.
    pub const NUM_INFERENCE_STEPS: u32 = 20;
    /// The strength of the guidance by the prompt.
    pub const GUIDANCE_SCALE: f64 = 5.0;
    /// Steps between two previews.
    pub const PREVIEW_EVERY: u32 = 5;
}

/// The longest prompt, in characters.
pub const MAX_PROMPT_CHARS: usize = 10_000;
/// The most denoising steps.
pub const MAX_STEPS: u64 = 50;
/// The largest index of a step: some samplers call the UNet twice for each of the steps that a request may list.
pub const MAX_STEP_INDEX: u64 = 2 * super::scheduler_config::MAX_LISTED as u64 - 1;
/// The strongest guidance by the prompt.
pub const MAX_GUIDANCE: f64 = 30.0;
/// The largest `guidance_rescale`.
pub const MAX_RESCALE: f64 = 1.0;
/// The most embeddings of one request.
pub const MAX_EMBEDDINGS: usize = 8;
/// The longest token of an embedding, in characters.
pub const MAX_TOKEN_CHARS: usize = 64;
/// The most tokens of one embedding: what a text encoder reads.
pub const MAX_TOKENS: usize = 75;
/// The most layers of the text encoders that may be skipped.
pub const MAX_CLIP_SKIP: u64 = 12;
