//! The one door from JSON to [`ImageSpec`]: every rule of the request, every error at once.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value, json};

use super::{FieldError, ImageSpec, MAX_SEED, OutputFormat, PreviewSource, default};

const MAX_PROMPT_CHARS: usize = 10_000;
const MAX_STEPS: u64 = 50;
const SIDE: std::ops::RangeInclusive<u64> = 64..=2048;
const MAX_GUIDANCE: f64 = 30.0;
const MAX_IMAGES: u64 = 4;

/// What the workers of an app can do, as far as a request is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The model's own width in pixels.
    pub native_width: u32,
    /// The model's own height in pixels.
    pub native_height: u32,
    /// The largest picture, width times height.
    pub max_pixels: u64,
    /// Names of the schedulers that some worker knows.
    pub schedulers: BTreeSet<String>,
}

/// What differs between the wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Members that no rule names.
    pub unknown: Unknown,
    /// `preview_source` where the request does not say.
    pub preview_source: PreviewSource,
}

/// What becomes of members that no rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// fal's and OpenAI's clients send more than we use.
    Ignored,
    /// On our own routes a misspelt field is an error.
    Refused,
}

impl ImageSpec {
    /// Checks a request against the rules and against what the app's workers offer. Takes from `body` what it
    /// knows; a seed that is not given is drawn from 0..2^32.
    ///
    /// # Errors
    /// One entry per wrong field.
    pub fn check(
        body: Map<String, Value>,
        offer: &Offer,
        defaults: Defaults,
    ) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields { body, errors: Vec::new() };
        let spec = Self {
            prompt: fields.prompt(),
            negative_prompt: fields
                .text("negative_prompt", 0)
                .unwrap_or_else(|| default::NEGATIVE_PROMPT.to_owned()),
            num_inference_steps: fields
                .integer("num_inference_steps", 1, MAX_STEPS)
                .unwrap_or(default::NUM_INFERENCE_STEPS.into()) as u32,
            width: fields.side("width").unwrap_or(offer.native_width),
            height: fields.side("height").unwrap_or(offer.native_height),
            guidance_scale: fields.guidance_scale().unwrap_or(default::GUIDANCE_SCALE),
            seed: fields.integer("seed", 0, MAX_SEED).unwrap_or_else(|| rand::random::<u32>().into()),
            num_images: fields.integer("num_images", 1, MAX_IMAGES).unwrap_or(1) as u32,
            scheduler: fields.scheduler(offer),
            preview_every: fields
                .integer("preview_every", 0, MAX_STEPS)
                .unwrap_or(default::PREVIEW_EVERY.into()) as u32,
            preview_source: fields
                .one_of(
                    "preview_source",
                    &[("latents", PreviewSource::Latents), ("denoised", PreviewSource::Denoised)],
                )
                .unwrap_or(defaults.preview_source),
            output_format: fields
                .one_of(
                    "output_format",
                    &[("jpeg", OutputFormat::Jpeg), ("png", OutputFormat::Png), ("webp", OutputFormat::Webp)],
                )
                .unwrap_or(OutputFormat::Jpeg),
        };
        fields.area(&spec, offer);
        if defaults.unknown == Unknown::Refused {
            fields.refuse_rest();
        }
        if fields.errors.is_empty() { Ok(spec) } else { Err(fields.errors) }
    }
}

/// The members not read yet, and what was wrong with those read. A reader answers `None` for a member that is
/// absent, `null` or wrong; a wrong one has left its error.
struct Fields {
    body: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    fn take(&mut self, field: &str) -> Option<Value> {
        self.body.remove(field).filter(|value| !value.is_null())
    }

    fn wrong(&mut self, field: &str, kind: &'static str, msg: impl Into<String>, input: &Value) {
        self.errors.push(FieldError::body(field, kind, msg, input));
    }

    fn out_of_bounds(&mut self, field: &str, kind: &'static str, msg: String, input: &Value, ctx: Value) {
        self.errors.push(FieldError::body(field, kind, msg, input).with_ctx(ctx));
    }

    fn prompt(&mut self) -> String {
        if self.body.get("prompt").is_none_or(Value::is_null) {
            let body = Value::Object(self.body.clone());
            self.body.remove("prompt");
            self.wrong("prompt", "missing", "Field required", &body);
            return String::new();
        }
        self.text("prompt", 1).unwrap_or_default()
    }

    fn text(&mut self, field: &str, least: usize) -> Option<String> {
        let value = self.take(field)?;
        let Value::String(text) = &value else {
            self.wrong(field, "string_type", "Input should be a valid string", &value);
            return None;
        };
        let chars = text.chars().count();
        if chars < least {
            let msg = format!("String should have at least {least} character");
            self.out_of_bounds(field, "string_too_short", msg, &value, json!({ "min_length": least }));
            return None;
        }
        if chars > MAX_PROMPT_CHARS {
            let msg = format!("String should have at most {MAX_PROMPT_CHARS} characters");
            self.out_of_bounds(
                field,
                "string_too_long",
                msg,
                &value,
                json!({ "max_length": MAX_PROMPT_CHARS }),
            );
            return None;
        }
        let Value::String(text) = value else { return None };
        Some(text)
    }

    fn number(&mut self, field: &str, kind: &'static str, msg: &str) -> Option<Number> {
        match self.take(field)? {
            Value::Number(number) => Some(number),
            other => {
                self.wrong(field, kind, msg, &other);
                None
            }
        }
    }

    fn integer(&mut self, field: &str, least: u64, most: u64) -> Option<u64> {
        let number = self.number(field, "int_type", "Input should be a valid integer")?;
        let input = Value::Number(number.clone());
        // 20.0 is an integer to JavaScript, which writes it as 20, and to pydantic.
        let float = number.as_f64().unwrap_or(f64::NAN);
        if number.as_u64().is_none() && float.fract() != 0.0 {
            let msg = "Input should be a valid integer, got a number with a fractional part";
            self.wrong(field, "int_from_float", msg, &input);
            return None;
        }
        if float < least as f64 {
            let msg = format!("Input should be greater than or equal to {least}");
            self.out_of_bounds(field, "greater_than_equal", msg, &input, json!({ "ge": least }));
            return None;
        }
        let value = number.as_u64().unwrap_or(float as u64);
        if value > most || float > most as f64 {
            let msg = format!("Input should be less than or equal to {most}");
            self.out_of_bounds(field, "less_than_equal", msg, &input, json!({ "le": most }));
            return None;
        }
        Some(value)
    }

    fn side(&mut self, field: &str) -> Option<u32> {
        let side = self.integer(field, *SIDE.start(), *SIDE.end())?;
        if !side.is_multiple_of(8) {
            let msg = "Input should be a multiple of 8".to_owned();
            self.out_of_bounds(field, "multiple_of", msg, &side.into(), json!({ "multiple_of": 8 }));
            return None;
        }
        Some(side as u32)
    }

    /// Both sides are right on their own, but a picture may not be the largest both ways, nor larger than any
    /// worker allows.
    fn area(&mut self, spec: &ImageSpec, offer: &Offer) {
        let most = offer.max_pixels.min(SIDE.end() * SIDE.end() / 2);
        let pixels = u64::from(spec.width) * u64::from(spec.height);
        let sides_wrong =
            self.errors.iter().any(|error| matches!(error.field().as_str(), "width" | "height"));
        if pixels > most && !sides_wrong {
            let (field, side) =
                if spec.width >= spec.height { ("width", spec.width) } else { ("height", spec.height) };
            let msg = format!(
                "A picture should have at most {most} pixels, {}x{} has {pixels}",
                spec.width, spec.height
            );
            self.out_of_bounds(field, "less_than_equal", msg, &side.into(), json!({ "le": most }));
        }
    }

    fn guidance_scale(&mut self) -> Option<f64> {
        let field = "guidance_scale";
        let number = self.number(field, "float_type", "Input should be a valid number")?;
        let value = number.as_f64().unwrap_or(f64::NAN);
        let input = Value::Number(number);
        if value < 0.0 || value.is_nan() {
            let msg = "Input should be greater than or equal to 0".to_owned();
            self.out_of_bounds(field, "greater_than_equal", msg, &input, json!({ "ge": 0 }));
            return None;
        }
        if value > MAX_GUIDANCE {
            let msg = format!("Input should be less than or equal to {MAX_GUIDANCE}");
            self.out_of_bounds(field, "less_than_equal", msg, &input, json!({ "le": MAX_GUIDANCE }));
            return None;
        }
        Some(value)
    }

    /// Names are diffusers' class names; the ending `Scheduler` may be left out.
    fn scheduler(&mut self, offer: &Offer) -> Option<String> {
        let field = "scheduler";
        let value = self.take(field)?;
        let Value::String(name) = &value else {
            self.wrong(field, "string_type", "Input should be a valid string", &value);
            return None;
        };
        let known = offer.schedulers.iter().find(|known| {
            known.as_str() == name || known.strip_suffix("Scheduler").is_some_and(|short| short == name)
        });
        if known.is_none() {
            let names: Vec<_> = offer.schedulers.iter().collect();
            let msg = "No worker of this app offers this scheduler".to_owned();
            self.out_of_bounds(field, "one_of", msg, &value, json!({ "expected": names }));
        }
        known.cloned()
    }

    fn one_of<T: Copy>(&mut self, field: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.take(field)?;
        let chosen = choices.iter().find(|(word, _)| value.as_str() == Some(word));
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let msg = format!("Input should be one of {}", words.join(", "));
            self.out_of_bounds(field, "one_of", msg, &value, json!({ "expected": words }));
        }
        chosen.map(|(_, value)| *value)
    }

    fn refuse_rest(&mut self) {
        for (field, value) in std::mem::take(&mut self.body) {
            self.wrong(&field, "extra_forbidden", "Extra inputs are not permitted", &value);
        }
    }
}
