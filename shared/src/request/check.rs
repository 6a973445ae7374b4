//! Converts JSON to [`ImageSpec`]: checks every rule of the request, and reports all errors at once.

use serde_json::{Map, Value, json};

use crate::prompt::PromptSyntax;

use super::{
    bounds::{MAX_CLIP_SKIP, MAX_PIXELS, MAX_PROMPT_CHARS, MAX_RESCALE, MAX_STEP_INDEX, MAX_STEPS, default},
    dialect::{Dialect, Names, Unknown},
    field_error::FieldError,
    fields::{Fields, Least},
    offer::Offer,
    origin::Origin,
    output::{OutputFormat, PreviewSource},
    pictures::Fetched,
    sampling::Sampling,
    seeds::Seeds,
    size::{GRID, SIDE, Size},
    spec::ImageSpec,
    wire_fields::{NamedSize, WireFields},
};

impl ImageSpec {
    /// Checks a request against the rules and against what the app's workers offer. Takes the members that it knows
    /// from `body`; a missing seed is drawn from 0..2^32. Pictures must be in the request itself. They are decoded,
    /// which is slow: if there are any ([`picture_sources`](super::picture_sources)), call it on a thread that may
    /// block.
    ///
    /// # Errors
    /// One entry per wrong field.
    pub fn check(
        body: Map<String, Value>,
        offer: &Offer,
        dialect: impl Into<Dialect>,
    ) -> Result<Self, Vec<FieldError>> {
        Self::check_with(body, offer, dialect, &Fetched::default())
    }

    /// As [`ImageSpec::check`], for a request whose pictures may also be URLs. `fetched` has their contents.
    ///
    /// # Errors
    /// One entry per wrong field.
    pub fn check_with(
        body: Map<String, Value>,
        offer: &Offer,
        dialect: impl Into<Dialect>,
        fetched: &Fetched,
    ) -> Result<Self, Vec<FieldError>> {
        let Dialect { defaults, names } = dialect.into();
        let mut body = body;
        let origin = match names {
            Names::Own => Origin::take(&mut body)?,
            Names::Fal(_) | Names::OpenAi(_) => None,
        };
        let native = Size { width: offer.native_width, height: offer.native_height };
        let mut fields = Fields::new(body);
        let prompt = fields.required_text("prompt", 1, MAX_PROMPT_CHARS);
        let negative_prompt = fields
            .text("negative_prompt", 0, MAX_PROMPT_CHARS)
            .unwrap_or_else(|| default::NEGATIVE_PROMPT.to_owned());
        let prompt_syntax = fields
            .one_of("prompt_syntax", &[("plain", PromptSyntax::Plain), ("a1111", PromptSyntax::A1111)])
            .unwrap_or_default();
        let mut loras = fields.loras(offer, defaults.unknown, names);
        let embeddings = fields.embeddings(defaults.unknown, names);
        if prompt_syntax == PromptSyntax::A1111 {
            fields.a1111_prompts([&prompt, &negative_prompt], &mut loras);
        }
        let Sampling { scheduler, config, steps: num_inference_steps, guidance } =
            fields.sampling(offer, names);
        let wire = match names {
            Names::Own => WireFields::default(),
            Names::Fal(_) => fields.fal(native),
            Names::OpenAi(_) => fields.openai(),
        };
        let controlnets = fields.controlnets(offer, defaults.unknown, names, fetched);
        let (width, height) = (fields.side("width"), fields.side("height"));
        let original = fields.original(num_inference_steps, names, fetched);
        let most = offer.max_pixels.min(MAX_PIXELS);
        let size = match (&wire.size, &original) {
            (Some(named), _) => named.size,
            (None, Some(original)) => {
                let own = Size { width: original.image.width(), height: original.image.height() };
                own.made_from(width, height, most)
            }
            (None, None) => {
                Size { width: width.unwrap_or(native.width), height: height.unwrap_or(native.height) }
            }
        };
        fields.area(size, most, wire.size);
        let parts = fields.parts(num_inference_steps, original.as_ref(), size, most);
        let Seeds { first: seed, each: seeds, num_images } = fields.seeds(wire.num_images);
        let mut spec = Self {
            prompt,
            negative_prompt,
            num_inference_steps,
            width: size.width,
            height: size.height,
            guidance_scale: guidance,
            guidance_rescale: fields.float("guidance_rescale", Least::From(0.0), MAX_RESCALE).unwrap_or(0.0),
            clip_skip: fields.integer("clip_skip", 0, MAX_CLIP_SKIP).map(|layers| layers as u32),
            prompt_syntax,
            long_prompt: fields.boolean("long_prompt").unwrap_or_default(),
            loras,
            controlnets,
            embeddings,
            original: original.map(Box::new),
            parts,
            seed,
            seeds,
            num_images,
            scheduler,
            scheduler_config: config,
            from: None,
            finish_at_step: fields.finish_at_step(names),
            preview_every: fields
                .integer("preview_every", 0, MAX_STEPS)
                .map_or(wire.preview_every.unwrap_or(default::PREVIEW_EVERY), |steps| steps as u32),
            partials: wire.partials,
            preview_source: fields
                .one_of(
                    "preview_source",
                    &[("latents", PreviewSource::Latents), ("denoised", PreviewSource::Denoised)],
                )
                .unwrap_or(defaults.preview_source),
            output_format: fields
                .output_format("output_format")
                .or(wire.format)
                .unwrap_or(OutputFormat::Jpeg),
            jpeg_quality: wire.jpeg_quality,
            data_uris: wire.data_uris,
            no_metadata: !fields.boolean("metadata").unwrap_or(true),
            warnings: wire.warnings,
        };
        if defaults.unknown == Unknown::Refused {
            fields.refuse_rest();
        }
        if !fields.errors.is_empty() {
            return Err(fields.errors);
        }
        spec.from =
            origin.map(|origin| origin.branch(&spec, offer, Dialect { defaults, names })).transpose()?;
        Ok(spec)
    }
}

/// Rules of fields that depend on more than the field.
impl Fields {
    /// One side of the picture, in pixels.
    pub(super) fn side(&mut self, field: &str) -> Option<u32> {
        let side = self.integer(field, (*SIDE.start()).into(), (*SIDE.end()).into())? as u32;
        if !side.is_multiple_of(GRID) {
            let msg = format!("Input should be a multiple of {GRID}");
            self.out_of_bounds(field, "multiple_of", msg, &side.into(), json!({ "multiple_of": GRID }));
            return None;
        }
        Some(side)
    }

    /// The step after which the job finishes early. Other wires than our own do not have it.
    fn finish_at_step(&mut self, names: Names) -> Option<u32> {
        if names != Names::Own {
            return None;
        }
        self.integer("finish_at_step", 0, MAX_STEP_INDEX).map(|step| step as u32)
    }

    /// The encoding of the final pictures.
    pub(super) fn output_format(&mut self, field: &str) -> Option<OutputFormat> {
        let formats =
            [("jpeg", OutputFormat::Jpeg), ("png", OutputFormat::Png), ("webp", OutputFormat::Webp)];
        self.one_of(field, &formats)
    }

    /// Each side may be valid, but their product must be within the limit of the rules and of the workers. `named` is
    /// the field that gave both sides.
    fn area(&mut self, size: Size, most: u64, named: Option<NamedSize>) {
        let sides_wrong = self
            .errors
            .iter()
            .any(|error| matches!(error.field().as_str(), "width" | "height" | "image_size" | "size"));
        if size.pixels() > most && !sides_wrong {
            let Size { width, height } = size;
            let (field, side) = if width >= height { ("width", width) } else { ("height", height) };
            let msg = format!(
                "A picture should have at most {most} pixels, {width}x{height} has {}",
                size.pixels()
            );
            let (field, input) = match named {
                Some(named) => (named.field, named.sent),
                None => (field, side.into()),
            };
            self.out_of_bounds(field, "less_than_equal", msg, &input, json!({ "le": most }));
        }
    }
}
