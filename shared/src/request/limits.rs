//! The numbers of a request's rules and its defaults, for a description of the rules.

pub use super::{
    bounds::{
        MAX_CLIP_SKIP, MAX_EMBEDDINGS, MAX_GUIDANCE, MAX_IMAGES, MAX_PIXELS, MAX_PROMPT_CHARS, MAX_RESCALE,
        MAX_SEED, MAX_STEP_INDEX, MAX_STEPS, MAX_TOKEN_CHARS, MAX_TOKENS, default,
    },
    canny::{HIGH_THRESHOLD, LOW_THRESHOLD, MAX_THRESHOLD},
    controlnet::{MAX_CONTROLNET_MODE, MAX_CONTROLNET_SCALE, MAX_CONTROLNETS},
    fal::{FAL_STRENGTH, NOT_IMPLEMENTED, asks_for_nothing, size_names},
    lora::{MAX_LORA_SCALE, MAX_LORAS},
    lora_path::{MAX_LORA_NAME_CHARS, MAX_LORA_URL_BYTES},
    openai::MAX_COMPRESSION,
    parts::{HIRES_SCALE, MAX_DENOISING_END, MAX_HIRES_SCALE, MAX_MASK_PADDING, MAX_SCORE, SCORES},
    pictures::{ALPHA, MAX_STRENGTH, STRENGTH, STRENGTH_OF_MASK},
    presets::{PRESETS, Preset},
    sampler_arguments::SAMPLER_ARGUMENTS,
    scheduler_config::{KeyRule, MAX_LISTED, MAX_SIGMA, MAX_TIMESTEP, SCHEDULER_KEYS},
    size::{GRID, SIDE},
};
