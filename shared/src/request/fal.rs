//! The fields that fal has for SDXL beside those that have our names.

use serde_json::{Value, json};

use super::{
    dialect::Task,
    field_error::Loc,
    fields::Fields,
    output::OutputFormat,
    size::{SIDE, Size},
    wire_fields::{NamedSize, WireFields},
};
use crate::event::{Warning, WarningCode};

/// The sizes that have a name, for a model whose own size is [`NAMED_FOR`].
const SIZES: [(&str, Size); 6] = [
    ("square_hd", Size { width: 1024, height: 1024 }),
    ("square", Size { width: 512, height: 512 }),
    ("portrait_4_3", Size { width: 768, height: 1024 }),
    ("portrait_16_9", Size { width: 576, height: 1024 }),
    ("landscape_4_3", Size { width: 1024, height: 768 }),
    ("landscape_16_9", Size { width: 1024, height: 576 }),
];
/// The own size of SDXL, a side in pixels.
const NAMED_FOR: u32 = 1024;

/// The default of `strength` where fal requires a picture.
pub const FAL_STRENGTH: f64 = 0.95;

/// Fields of fal's SDXL endpoints that change the picture and that nothing here implements.
pub const NOT_IMPLEMENTED: [&str; 30] = [
    "prompt_2",
    "negative_prompt_2",
    "denoising_start",
    "guess_mode",
    "control_image",
    "control_loras",
    "controlnet_unions",
    "easycontrols",
    "controlnet",
    "control_image_url",
    "controlnet_conditioning_scale",
    "controlnet_guess_mode",
    "ip_adapters",
    "ip_adapter",
    "ip_adapter_image_url",
    "ip_adapter_mask_url",
    "ip_adapter_scale",
    "image_encoder_path",
    "ic_light_model_url",
    "ic_light_image_url",
    "model_name",
    "unet_name",
    "model_architecture",
    "prompt_weighting",
    "prediction_type",
    "rescale_betas_snr_zero",
    "noise_strength",
    "crop_output",
    "refiner",
    "preserve_aspect_ratio",
];

/// Those of them that are switches: `false` asks for nothing.
const SWITCHES: [&str; 6] = [
    "guess_mode",
    "controlnet_guess_mode",
    "prompt_weighting",
    "rescale_betas_snr_zero",
    "crop_output",
    "preserve_aspect_ratio",
];

/// The names that `image_size` may have.
pub fn size_names() -> impl Iterator<Item = &'static str> {
    SIZES.into_iter().map(|(name, _)| name)
}

impl Fields {
    /// Reads fal's own fields. `native` is the app's own size.
    pub(super) fn fal(&mut self, native: Size) -> WireFields {
        self.refuse_not_implemented(&NOT_IMPLEMENTED);
        let size = self.take_beside("image_size", &["width", "height"]).and_then(|sent| {
            let size = self.image_size(&sent, native)?;
            Some(NamedSize { size, field: "image_size", sent })
        });
        let format = self.format_by("format", &["output_format"]);
        let image_format = self.format_by("image_format", &["output_format"]);
        let format = format.or(image_format);
        let data_uris = self.boolean("sync_mode").unwrap_or(false);
        // There is no safety model.
        self.boolean("enable_safety_checker");
        let warnings = match self.boolean("expand_prompt") {
            Some(true) => vec![Warning {
                code: WarningCode::PromptNotExpanded,
                message: "expand_prompt has no effect: this server does not expand prompts".to_owned(),
            }],
            _ => Vec::new(),
        };
        WireFields { size, format, data_uris, warnings, ..WireFields::default() }
    }

    /// Takes fields that nothing here implements, and refuses those that would change the picture.
    pub(super) fn refuse_not_implemented(&mut self, fields: &[&str]) {
        for field in fields {
            if let Some(value) = self.take(field).filter(|value| !asks_for_nothing(field).contains(value)) {
                let msg =
                    "This server does not implement it, and the picture would be another one: leave it out";
                self.wrong(field, "feature_not_supported", msg, &value);
            }
        }
    }

    /// The format of the pictures, by a name of fal's for it.
    fn format_by(&mut self, field: &str, ours: &[&str]) -> Option<OutputFormat> {
        let value = self.take_beside(field, ours)?;
        self.body.insert(field.to_owned(), value);
        self.output_format(field)
    }

    /// A name, or an object with both sides.
    fn image_size(&mut self, value: &Value, native: Size) -> Option<Size> {
        let field = "image_size";
        let members = match value {
            Value::Object(members) => members.clone(),
            other => {
                let named = SIZES.iter().find(|(name, _)| other.as_str() == Some(name));
                if named.is_none() {
                    let names = SIZES.map(|(name, _)| name);
                    let msg = format!(
                        "Input should be one of {}, or an object with width and height",
                        names.join(", ")
                    );
                    self.out_of_bounds(field, "one_of", msg, other, json!({ "expected": names }));
                }
                return named.map(|(_, size)| size.for_native(native));
            }
        };
        let mut sides = Fields::at(vec![Loc::Name(field.to_owned())], members);
        let size = (sides.required_side("width"), sides.required_side("height"));
        self.errors.append(&mut sides.errors);
        let (Some(width), Some(height)) = size else { return None };
        Some(Size { width, height })
    }

    fn required_side(&mut self, field: &str) -> Option<u32> {
        if self.body.get(field).is_none_or(Value::is_null) {
            self.missing(field);
            return None;
        }
        self.side(field)
    }
}

impl Size {
    /// This size of a model of 1024x1024, for a model with another own size: multiples of 8.
    fn for_native(self, native: Self) -> Self {
        let scale = (native.pixels() as f64).sqrt() / f64::from(NAMED_FOR);
        let side = |side: u32| Self::nearest(f64::from(side) * scale).clamp(*SIDE.start(), *SIDE.end());
        Self { width: side(self.width), height: side(self.height) }
    }
}

impl Task {
    /// The default of `strength`, if it is fal's.
    pub(super) fn strength(self) -> Option<f64> {
        (self != Self::Any).then_some(FAL_STRENGTH)
    }
}

/// The values of a field of fal's that change no picture, above all of those in [`NOT_IMPLEMENTED`]: clients send the defaults of fields that they do
/// not use. `null` is one of them for every field.
pub fn asks_for_nothing(field: &str) -> Vec<Value> {
    let mut values = vec![json!(null), json!(""), json!([]), json!({})];
    if SWITCHES.contains(&field) {
        values.push(json!(false));
    }
    // Defaults of fal-ai/lora that say what every request here does.
    match field {
        "prediction_type" => values.push(json!("epsilon")),
        "model_architecture" => values.push(json!("sdxl")),
        "eta" | "denoising_start" => values.extend([json!(0), json!(0.0)]),
        "sigmas" | "timesteps" => {
            values.extend([json!({ "method": "default" }), json!({ "method": "default", "array": [] })]);
        }
        _ => {}
    }
    values
}
