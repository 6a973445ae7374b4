//! The LoRAs of a request: their names and scales.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::prompt::{LoraTag, Prompt, Side};

use super::{
    dialect::{Names, Unknown},
    field_error::{FieldError, Loc},
    fields::{Fields, Least},
};

/// The most LoRAs of a request.
pub const MAX_LORAS: usize = 8;
/// The largest scale of a LoRA; the smallest is its negative.
pub const MAX_LORA_SCALE: f64 = 10.0;
/// The longest name of a LoRA's file, in characters.
pub const MAX_LORA_NAME_CHARS: usize = 255;

/// A LoRA, by the name of its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    #[serde(rename = "path")]
    name: LoraName,
    scale: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unet_scale: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text_scale: Option<f64>,
}

impl Lora {
    /// The file.
    pub fn name(&self) -> &LoraName {
        &self.name
    }

    /// Its scale: -10 to 10.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Its scale in the UNet, if it is another one: -10 to 10.
    pub fn unet_scale(&self) -> Option<f64> {
        self.unet_scale
    }

    /// Its scale in the text encoders, if it is another one: -10 to 10.
    pub fn text_scale(&self) -> Option<f64> {
        self.text_scale
    }

    /// Whether a part of the model has a scale of its own.
    pub fn has_scales_of_parts(&self) -> bool {
        self.unet_scale.is_some() || self.text_scale.is_some()
    }
}

/// The name of a file in the worker's LoRA folder: parts separated by `/`. It cannot name a file outside the folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LoraName(String);

/// The text is not the name of a file in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Input should name a file under the workers' LoRA folder: at most {MAX_LORA_NAME_CHARS} characters, parts divided \
     by /, without empty parts, . and .., and without \\, :, control characters and a leading ~"
)]
pub struct NoLoraName;

impl LoraName {
    /// The name, relative to the folder.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LoraName {
    type Error = NoLoraName;

    fn try_from(name: String) -> Result<Self, NoLoraName> {
        // A leading `/` gives an empty part; `:` would make the name a drive or a URL.
        let parts = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let chars = !name.chars().any(|c| matches!(c, '\\' | ':') || c.is_control());
        let right = parts && chars && !name.starts_with('~') && name.chars().count() <= MAX_LORA_NAME_CHARS;
        right.then_some(Self(name)).ok_or(NoLoraName)
    }
}

impl From<LoraName> for String {
    fn from(name: LoraName) -> Self {
        name.0
    }
}

impl std::fmt::Display for LoraName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fields {
    /// Reads `loras`: returns the valid ones, and records the errors of the others.
    pub(super) fn loras(&mut self, unknown: Unknown, names: Names) -> Vec<Lora> {
        let field = "loras";
        let entries = match self.take(field) {
            None => return Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(other) => {
                self.wrong(field, "list_type", "Input should be a valid list", &other);
                return Vec::new();
            }
        };
        if entries.len() > MAX_LORAS {
            let msg = format!("List should have at most {MAX_LORAS} items");
            let ctx = json!({ "max_length": MAX_LORAS });
            self.out_of_bounds(field, "sequence_too_long", msg, &Value::Array(entries), ctx);
            return Vec::new();
        }
        let mut loras = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let at = vec![Loc::Name(field.to_owned()), Loc::Index(index)];
            let Value::Object(members) = entry else {
                let msg = "Input should be a valid dictionary or object to extract fields from";
                self.errors.push(FieldError::within_body(at, "model_attributes_type", msg, &entry));
                continue;
            };
            let mut fields = Fields::at(at, members);
            let name = fields.lora_name(names);
            let mut number = |field| fields.float(field, Least::From(-MAX_LORA_SCALE), MAX_LORA_SCALE);
            let scale = number("scale").unwrap_or(1.0);
            let (unet_scale, text_scale) = (number("unet_scale"), number("text_scale"));
            if unknown == Unknown::Refused {
                fields.refuse_rest();
            }
            self.errors.append(&mut fields.errors);
            loras.extend(name.map(|name| Lora { name, scale, unet_scale, text_scale }));
        }
        loras
    }

    /// Reads a prompt and a negative prompt in AUTOMATIC1111's syntax: adds the LoRAs that the prompt names, and records
    /// the errors.
    pub(super) fn a1111_prompts(&mut self, prompts: [&str; 2], loras: &mut Vec<Lora>) {
        let [prompt, negative] = prompts;
        for (field, text, side) in
            [("prompt", prompt, Side::Positive), ("negative_prompt", negative, Side::Negative)]
        {
            match Prompt::parse(text, side) {
                Ok(prompt) => prompt.loras.into_iter().for_each(|tag| self.tagged(field, tag, loras)),
                Err(error) => self.wrong(field, "prompt_syntax", error.to_string(), &text.into()),
            }
        }
    }

    /// Adds the LoRA of a tag.
    fn tagged(&mut self, field: &str, tag: LoraTag, loras: &mut Vec<Lora>) {
        let LoraTag { name, scale, unet_scale } = tag;
        let input = Value::from(&name[..]);
        let is_scale = |scale: f64| (-MAX_LORA_SCALE..=MAX_LORA_SCALE).contains(&scale);
        match LoraName::try_from(name) {
            Err(error) => self.wrong(field, "lora_name", format!("<lora:…>: {error}"), &input),
            Ok(_) if !is_scale(scale) || !unet_scale.is_none_or(is_scale) => {
                let msg = format!("<lora:…>: The scale should be from -{MAX_LORA_SCALE} to {MAX_LORA_SCALE}");
                self.wrong(field, "lora_scale", msg, &scale.into());
            }
            Ok(_) if loras.len() == MAX_LORAS => {
                let msg = format!("With the LoRAs of the prompt there should be at most {MAX_LORAS}");
                self.wrong(field, "sequence_too_long", msg, &input);
            }
            Ok(name) => loras.push(Lora { name, scale, unet_scale, text_scale: None }),
        }
    }

    fn lora_name(&mut self, names: Names) -> Option<LoraName> {
        let field = "path";
        let errors = self.errors.len();
        let name = self.required_text(field, 1, usize::MAX);
        if self.errors.len() > errors {
            return None;
        }
        let input = Value::from(&name[..]);
        if let Some(msg) = elsewhere(&name).filter(|_| names.are_fal()) {
            self.wrong(field, "feature_not_supported", msg, &input);
            return None;
        }
        let name = LoraName::try_from(name);
        if let Err(error) = &name {
            self.wrong(field, "lora_name", error.to_string(), &input);
        }
        name.ok()
    }
}

/// Why a path of fal's does not name a file of the workers; `None` if it may. fal reads `OWNER/NAME` as a name on the
/// Hugging Face Hub.
fn elsewhere(path: &str) -> Option<&'static str> {
    if path.contains("://") {
        return Some(
            "This server loads no LoRAs from URLs: input should name a file of the workers' --lora-dir",
        );
    }
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let is_hub_id = path.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name));
    (is_hub_id && !path.ends_with(".safetensors")).then_some(
        "This server loads no LoRAs from the Hugging Face Hub: input should name a file of the workers' --lora-dir. \
         A file in a folder there is named with its ending, FOLDER/FILE.safetensors",
    )
}
