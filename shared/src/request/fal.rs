//! The fields that fal has for SDXL beside those that have our names.

use serde_json::{Value, json};

use super::{
    dialect::Task,
    field_error::Loc,
    fields::Fields,
    size::{SIDE, Size},
    wire_fields::WireFields,
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
const STRENGTH: f64 = 0.95;

/// Fields of fal's SDXL endpoints that change the picture and that nothing here implements.
const NOT_IMPLEMENTED: [&str; 26] = [
    "embeddings",
    "controlnets",
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
    "eta",
    "sigmas",
    "timesteps",
    "noise_strength",
    "crop_output",
    "refiner",
];

impl Fields {
    /// Reads fal's own fields. `native` is the app's own size.
    pub(super) fn fal(&mut self, native: Size) -> WireFields {
        for field in NOT_IMPLEMENTED {
            if let Some(value) = self.take(field).filter(|value| !is_nothing(value)) {
                let msg =
                    "This server does not implement it, and the picture would be another one: leave it out";
                self.wrong(field, "feature_not_supported", msg, &value);
            }
        }
        let size = self.take_beside("image_size", &["width", "height"]);
        let size = size.and_then(|value| self.image_size(value, native));
        let format = match self.take_beside("format", &["output_format"]) {
            Some(value) => {
                self.body.insert("format".to_owned(), value);
                self.output_format("format")
            }
            None => None,
        };
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
        let size = size.map(|size| (size, "image_size"));
        WireFields { size, format, data_uris, warnings, ..WireFields::default() }
    }

    /// A name, or an object with both sides.
    fn image_size(&mut self, value: Value, native: Size) -> Option<Size> {
        let field = "image_size";
        let members = match value {
            Value::Object(members) => members,
            other => {
                let named = SIZES.iter().find(|(name, _)| other.as_str() == Some(name));
                if named.is_none() {
                    let names = SIZES.map(|(name, _)| name);
                    let msg = format!(
                        "Input should be one of {}, or an object with width and height",
                        names.join(", ")
                    );
                    self.out_of_bounds(field, "one_of", msg, &other, json!({ "expected": names }));
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
            let members = Value::Object(self.body.clone());
            self.wrong(field, "missing", "Field required", &members);
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
        (self != Self::Any).then_some(STRENGTH)
    }
}

/// Whether a value asks for nothing: clients send the defaults of fields that they do not use.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => matches!(&text[..], "" | "default"),
        Value::Array(values) => values.iter().all(is_nothing),
        Value::Object(members) => members.values().all(is_nothing),
    }
}
