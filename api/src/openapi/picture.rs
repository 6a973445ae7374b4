//! The fields that describe a picture, by our own names, which every wire understands. `docs/protocol.md` has the same
//! table for people.

use glimpse_shared::request::{
    Defaults, PreviewSource,
    limits::{
        FAL_STRENGTH, GRID, HIRES_SCALE, MAX_CLIP_SKIP, MAX_DENOISING_END, MAX_EMBEDDINGS, MAX_GUIDANCE,
        MAX_HIRES_SCALE, MAX_IMAGES, MAX_LORA_NAME_CHARS, MAX_LORA_SCALE, MAX_LORA_URL_BYTES, MAX_LORAS,
        MAX_MASK_PADDING, MAX_PIXELS, MAX_PROMPT_CHARS, MAX_RESCALE, MAX_SCORE, MAX_SEED, MAX_STEPS,
        MAX_STRENGTH, MAX_TOKEN_CHARS, MAX_TOKENS, PRESETS, SCORES, SIDE, STRENGTH, STRENGTH_OF_MASK,
        default,
    },
};
use serde_json::{Value, json};
use utoipa::openapi::{
    Array, Object, ObjectBuilder, RefOr, Schema,
    schema::{SchemaType, Type},
};

use super::{
    controlnet::controlnets,
    draft::Draft,
    field::{
        boolean, closed, integer, mask_uri, member, number, number_above, of_form, one_of, picture_uri,
        string, text,
    },
    members::Members,
    sampler::{argument, scheduler_config},
};

/// What the fields of a wire have as defaults.
pub(super) struct Reading {
    pub(super) defaults: Defaults,
    /// Whether fal's default of `strength` counts.
    pub(super) has_fals_strength: bool,
    pub(super) members: Members,
}

/// An object with every field of a picture.
pub(super) fn picture(draft: &mut Draft, reading: &Reading) -> ObjectBuilder {
    let prompt = string().min_length(Some(1)).max_length(Some(MAX_PROMPT_CHARS));
    let fields = member(Object::builder(), "prompt", says(prompt, "What to draw"));
    optional(draft, reading).into_iter().fold(fields, |fields, (name, schema)| fields.property(name, schema))
}

fn says(field: ObjectBuilder, text: &str) -> ObjectBuilder {
    field.description(Some(text))
}

fn or(field: ObjectBuilder, default: impl Into<Value>, text: &str) -> ObjectBuilder {
    says(field, text).default(Some(default.into()))
}

/// The optional fields.
fn optional(draft: &mut Draft, reading: &Reading) -> Vec<(&'static str, RefOr<Schema>)> {
    let (strength, of_strength) = match reading.has_fals_strength {
        true => (FAL_STRENGTH, String::new()),
        false => (STRENGTH, format!("; with `mask` the default is {STRENGTH_OF_MASK}")),
    };
    let strength_text = format!(
        "The share of the steps that are run, at least one; fewer keep more of `image`. Only with `image`{of_strength}"
    );
    let side = |text: &str| says(side(), text).into();
    vec![
        (
            "negative_prompt",
            or(text(0, MAX_PROMPT_CHARS), default::NEGATIVE_PROMPT, "What not to draw").into(),
        ),
        (
            "num_inference_steps",
            or(integer(1, MAX_STEPS), default::NUM_INFERENCE_STEPS, "Denoising steps").into(),
        ),
        ("width", side("Pixels; without it the model's own width, or that of `image`")),
        ("height", side("Pixels; without it the model's own height, or that of `image`")),
        (
            "guidance_scale",
            or(
                number(0.0, MAX_GUIDANCE),
                default::GUIDANCE_SCALE,
                "The strength of the guidance by the prompt",
            )
            .into(),
        ),
        (
            "guidance_rescale",
            or(number(0.0, MAX_RESCALE), 0.0, "How much the deviation of the guided prediction is restored")
                .into(),
        ),
        (
            "clip_skip",
            or(
                integer(0, MAX_CLIP_SKIP),
                0,
                "Last layers of the text encoders to skip, as diffusers counts them",
            )
            .into(),
        ),
        (
            "prompt_syntax",
            or(
                one_of(["plain", "a1111"]),
                "plain",
                "How both prompts are read: as text, or with emphasis, `BREAK` and `<lora:NAME:SCALE>` as in \
                 AUTOMATIC1111's web UI",
            )
            .into(),
        ),
        (
            "long_prompt",
            or(
                boolean(),
                false,
                "Whether the text encoders read a long prompt in chunks; in the syntax `a1111` they always do",
            )
            .into(),
        ),
        ("loras", loras(draft, reading.members)),
        ("controlnets", controlnets(draft, reading.members)),
        ("embeddings", embeddings(draft, reading.members)),
        ("image", says(picture_uri(), PICTURE).into()),
        (
            "mask",
            says(
                mask_uri(),
                "A picture of any size, as `image`: white is repainted. Or `alpha`: the transparent pixels of `image` are \
                 repainted. Only with `image`",
            )
            .into(),
        ),
        ("strength", or(number_above(0.0, MAX_STRENGTH), strength, &strength_text).into()),
        (
            "denoising_end",
            says(
                number_above(0.0, MAX_DENOISING_END),
                "The share of the noise after which the worker's refiner (`--refiner`) goes on. Not with `mask`. \
                 Without it there is no refiner",
            )
            .into(),
        ),
        ("aesthetic_score", or(number(0.0, MAX_SCORE), SCORES[0], "What a refiner is told of the picture").into()),
        (
            "negative_aesthetic_score",
            or(number(0.0, MAX_SCORE), SCORES[1], "What a refiner is told of what the picture is not to be").into(),
        ),
        (
            "padding_mask_crop",
            says(
                integer(0, MAX_MASK_PADDING),
                "A margin in pixels: the part of `image` around the mask is repainted in the size `width` x `height` \
                 and pasted back, so that the result has the size of `image`. Only with a `mask` of that size",
            )
            .into(),
        ),
        ("hires", hires(draft)),
        (
            "seed",
            says(integer(0, MAX_SEED), "Without it a random number below 2^32; the result says it").into(),
        ),
        ("seeds", seeds()),
        ("num_images", or(integer(1, MAX_IMAGES), 1, "How many pictures").into()),
        ("scheduler", says(of_form("[A-Za-z]"), SCHEDULER).examples(["DPM++ 2M Karras"]).into()),
        ("scheduler_config", scheduler_config(draft)),
        ("sigmas", argument(draft, "sigmas", reading.members)),
        ("timesteps", argument(draft, "timesteps", reading.members)),
        ("eta", argument(draft, "eta", reading.members)),
        ("preset", says(one_of(PRESETS.iter().map(|preset| preset.name)), PRESET).into()),
        (
            "preview_every",
            or(
                integer(0, MAX_STEPS),
                default::PREVIEW_EVERY,
                "Steps from one preview to the next; 0 for none",
            )
            .into(),
        ),
        ("preview_source", previews(reading.defaults.preview_source)),
        (
            "output_format",
            or(one_of(["jpeg", "png", "webp"]), "jpeg", "How the final pictures are encoded").into(),
        ),
        ("metadata", or(boolean(), true, "Whether the final pictures carry their recipe (docs/recipes.md)").into()),
    ]
}

const PICTURE: &str = "A data URI of a PNG, JPEG, WebP or GIF (its first frame) with at most 12 MiB, 16777216 pixels, \
                       and 8192 pixels per side; with `--allow-image-urls` also an http or https URL";

const SCHEDULER: &str = "A class of diffusers that a worker of the app offers (`GET /v1/workers`), with or without \
                         `Scheduler`, or one of its other names (docs/samplers.md). Without it the checkpoint's own";

const PRESET: &str = "Defaults of `scheduler`, `scheduler_config`, `num_inference_steps` and `guidance_scale` for a \
                      model of few steps (docs/samplers.md)";

/// One side of a picture.
pub(super) fn side() -> ObjectBuilder {
    let (least, most) = (u64::from(*SIDE.start()), u64::from(*SIDE.end()));
    integer(least, most).multiple_of(Some(u64::from(GRID))).description(Some(format!(
        "Pixels. A picture has at most {MAX_PIXELS}, or what the workers of the app allow"
    )))
}

fn hires(draft: &mut Draft) -> RefOr<Schema> {
    let object = Object::builder()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .property("scale", or(number(1.0, MAX_HIRES_SCALE), HIRES_SCALE, "How much larger each side becomes"))
        .property(
            "strength",
            or(
                number_above(0.0, MAX_STRENGTH),
                STRENGTH,
                "The share of the steps that are run, at least one",
            ),
        )
        .property("steps", says(integer(1, MAX_STEPS), "Denoising steps; `num_inference_steps` if absent"));
    let text = "A second pass: the pictures are enlarged by the Lanczos filter, and image-to-image goes on from there \
                with the same seed. Not with `image` or `denoising_end`";
    draft.named("Hires", says(closed(object), text))
}

fn loras(draft: &mut Draft, members: Members) -> RefOr<Schema> {
    let hub_id = if members == Members::Fals { "; `OWNER/NAME` means `hf://OWNER/NAME`" } else { "" };
    let path = string().min_length(Some(1)).pattern(Some(format!("^.{{1,{MAX_LORA_URL_BYTES}}}$")));
    let path = path.description(Some(format!(
        "A file of the workers' `--lora-dir`, of at most {MAX_LORA_NAME_CHARS} characters; parts are divided by `/`. \
         With `--allow-lora-urls` also an http or https URL of at most {MAX_LORA_URL_BYTES} bytes, and with \
         `--allow-lora-hub` also `hf://OWNER/NAME[@REVISION][/FILE.safetensors]`{hub_id}"
    )));
    let scale = || number(-MAX_LORA_SCALE, MAX_LORA_SCALE);
    let lora = member(Object::builder(), "path", path)
        .property("scale", or(scale(), 1.0, "Its strength"))
        .property("unet_scale", says(scale(), "Its strength in the UNet; `scale` if absent"))
        .property("text_scale", says(scale(), "Its strength in the text encoders; `scale` if absent"))
        .description(Some("A change to the model"));
    let lora = match members {
        Members::Closed => draft.named("Lora", closed(lora)),
        Members::Open => draft.named("LoraOfOpenAi", lora),
        Members::Fals => draft.named("LoraOfFal", lora),
    };
    let mut list = Array::new(lora);
    list.schema_type = SchemaType::from_iter([Type::Array, Type::Null]);
    list.max_items = Some(MAX_LORAS);
    list.description = Some("Changes to the model".to_owned());
    list.default = Some(json!([]));
    list.into()
}

fn embeddings(draft: &mut Draft, members: Members) -> RefOr<Schema> {
    let path = string().min_length(Some(1)).pattern(Some(format!("^.{{1,{MAX_LORA_URL_BYTES}}}$")));
    let path = path
        .description(Some("A file of the workers' `--embedding-dir`; or what `path` of a LoRA may be too"));
    let (token, default) = (
        text(1, MAX_TOKEN_CHARS),
        if members == Members::Fals { "`tokens`" } else { "the name of the file" },
    );
    let token = says(token, &format!("What stands in a prompt for all its vectors; without it {default}"));
    let embedding = member(Object::builder(), "path", path).property("token", token);
    let embedding = embedding.description(Some("A word of the prompts that is not the model's own"));
    let embedding = match members {
        Members::Closed => draft.named("Embedding", closed(embedding)),
        Members::Open => draft.named("EmbeddingOfOpenAi", embedding),
        Members::Fals => {
            let token = string().min_length(Some(1)).max_length(Some(MAX_TOKEN_CHARS));
            let mut tokens = Array::new(token);
            tokens.schema_type = SchemaType::from_iter([Type::Array, Type::Null]);
            (tokens.min_items, tokens.max_items) = (Some(1), Some(MAX_TOKENS));
            tokens.default = Some(json!(["<s0>", "<s1>"]));
            tokens.description = Some("A token for each vector, or one for all".to_owned());
            draft.named("EmbeddingOfFal", embedding.property("tokens", tokens))
        }
    };
    let mut list = Array::new(embedding);
    list.schema_type = SchemaType::from_iter([Type::Array, Type::Null]);
    list.max_items = Some(MAX_EMBEDDINGS);
    list.description =
        Some("Words of the prompts that are not the model's own (textual inversion)".to_owned());
    list.default = Some(json!([]));
    list.into()
}

fn seeds() -> RefOr<Schema> {
    let seed = Object::builder().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(MAX_SEED));
    let mut list = Array::new(seed);
    list.schema_type = SchemaType::from_iter([Type::Array, Type::Null]);
    (list.min_items, list.max_items) = (Some(1), Some(MAX_IMAGES as usize));
    let text = "A seed for each picture, which is then that of this seed alone. Not together with `seed`";
    list.description = Some(text.to_owned());
    list.into()
}

fn previews(default: PreviewSource) -> RefOr<Schema> {
    let word = match default {
        PreviewSource::Latents => "latents",
        PreviewSource::Denoised => "denoised",
    };
    let text = "What previews show: the sampler's latents, or its estimate of the final picture";
    or(one_of(["latents", "denoised"]), word, text).into()
}
