//! The fields that describe a picture, by our own names, which every wire understands. `docs/protocol.md` has the same
//! table for people.

use glimpse_shared::request::{
    Defaults, PreviewSource,
    limits::{
        FAL_STRENGTH, GRID, MAX_CLIP_SKIP, MAX_GUIDANCE, MAX_IMAGES, MAX_LORA_NAME_CHARS, MAX_LORA_SCALE,
        MAX_LORAS, MAX_PIXELS, MAX_PROMPT_CHARS, MAX_RESCALE, MAX_SEED, MAX_STEPS, MAX_STRENGTH, SIDE,
        STRENGTH, STRENGTH_OF_MASK, default,
    },
};
use serde_json::{Value, json};
use utoipa::openapi::{
    Array, Object, ObjectBuilder, RefOr, Schema,
    schema::{SchemaType, Type},
};

use super::{
    draft::Draft,
    field::{closed, integer, member, number, number_above, of_form, one_of, picture_uri, string, text},
};

/// What the fields of a wire have as defaults.
pub(super) struct Reading {
    pub(super) defaults: Defaults,
    /// Whether fal's default of `strength` counts.
    pub(super) has_fals_strength: bool,
    /// Whether members that no field knows are refused.
    pub(super) is_closed: bool,
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
        ("loras", loras(draft, reading.is_closed)),
        ("image", says(picture_uri(), PICTURE).into()),
        (
            "mask",
            says(picture_uri(), "A picture of any size, as `image`: white is repainted. Only with `image`")
                .into(),
        ),
        ("strength", or(number_above(0.0, MAX_STRENGTH), strength, &strength_text).into()),
        (
            "seed",
            says(integer(0, MAX_SEED), "Without it a random number below 2^32; the result says it").into(),
        ),
        ("num_images", or(integer(1, MAX_IMAGES), 1, "How many pictures").into()),
        ("scheduler", says(of_form("^[A-Za-z0-9]+$"), SCHEDULER).examples(["EulerDiscreteScheduler"]).into()),
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
    ]
}

const PICTURE: &str = "A data URI of a PNG, JPEG or WebP with at most 12 MiB, 16777216 pixels, and 8192 pixels per \
                       side; with `--allow-image-urls` also an http or https URL";

const SCHEDULER: &str = "A name that a worker of the app offers (`GET /v1/workers`), spelled as in diffusers; \
                         `Scheduler` at the end may be left out. Without it the checkpoint's own";

/// One side of a picture.
pub(super) fn side() -> ObjectBuilder {
    let (least, most) = (u64::from(*SIDE.start()), u64::from(*SIDE.end()));
    integer(least, most).multiple_of(Some(u64::from(GRID))).description(Some(format!(
        "Pixels. A picture has at most {MAX_PIXELS}, or what the workers of the app allow"
    )))
}

fn loras(draft: &mut Draft, is_closed: bool) -> RefOr<Schema> {
    let path = string().min_length(Some(1)).max_length(Some(MAX_LORA_NAME_CHARS));
    let path = says(path, "A file of the workers' `--lora-dir`; parts are divided by `/`");
    let lora = member(Object::builder(), "path", path)
        .property("scale", or(number(-MAX_LORA_SCALE, MAX_LORA_SCALE), 1.0, "Its strength"))
        .description(Some("A change to the model"));
    let lora = match is_closed {
        true => draft.named("Lora", closed(lora)),
        false => draft.named("LoraOfFal", lora),
    };
    let mut list = Array::new(lora);
    list.schema_type = SchemaType::from_iter([Type::Array, Type::Null]);
    list.max_items = Some(MAX_LORAS);
    list.description = Some("Changes to the model".to_owned());
    list.default = Some(json!([]));
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
