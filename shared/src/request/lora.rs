//! The LoRAs of a request: their paths and scales.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prompt::{LoraTag, Prompt, Side};

use super::{
    dialect::{Names, Unknown},
    fields::{Fields, Least},
    lora_path::{LoraName, LoraPath, LoraSource, hub_id},
    offer::Offer,
};

/// The most LoRAs of a request.
pub const MAX_LORAS: usize = 8;
/// The largest scale of a LoRA; the smallest is its negative.
pub const MAX_LORA_SCALE: f64 = 10.0;

/// A LoRA, by its path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    path: LoraPath,
    scale: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unet_scale: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text_scale: Option<f64>,
}

impl Lora {
    /// Where it is.
    pub fn path(&self) -> &LoraPath {
        &self.path
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

impl Fields {
    /// Reads `loras`: returns the valid ones, and records the errors of the others.
    pub(super) fn loras(&mut self, offer: &Offer, unknown: Unknown, names: Names) -> Vec<Lora> {
        self.list("loras", MAX_LORAS, unknown, |fields| {
            let path = fields.lora_path(offer, names);
            let mut number = |field| fields.float(field, Least::From(-MAX_LORA_SCALE), MAX_LORA_SCALE);
            let scale = number("scale").unwrap_or(1.0);
            let (unet_scale, text_scale) = (number("unet_scale"), number("text_scale"));
            Some(Lora { path: path?, scale, unet_scale, text_scale })
        })
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
        match LoraName::parse(name) {
            None => self.wrong(
                field,
                "lora_name",
                "<lora:…> should name a file under the workers' LoRA folder",
                &input,
            ),
            Some(_) if !is_scale(scale) || !unet_scale.is_none_or(is_scale) => {
                let msg = format!("<lora:…>: The scale should be from -{MAX_LORA_SCALE} to {MAX_LORA_SCALE}");
                self.wrong(field, "lora_scale", msg, &scale.into());
            }
            Some(_) if loras.len() == MAX_LORAS => {
                let msg = format!("With the LoRAs of the prompt there should be at most {MAX_LORAS}");
                self.wrong(field, "sequence_too_long", msg, &input);
            }
            Some(name) => {
                loras.push(Lora { path: LoraPath::File(name), scale, unet_scale, text_scale: None })
            }
        }
    }

    fn lora_path(&mut self, offer: &Offer, names: Names) -> Option<LoraPath> {
        let field = "path";
        let errors = self.errors.len();
        let text = self.required_text(field, 1, usize::MAX);
        if self.errors.len() > errors {
            return None;
        }
        let input = Value::from(&text[..]);
        let hub_id = hub_id(&text).filter(|_| names.are_fal());
        let is_hub_id = hub_id.is_some();
        let path = match LoraPath::try_from(hub_id.unwrap_or(text)) {
            Ok(path) => path,
            Err(error) => {
                self.wrong(field, "lora_name", error.to_string(), &input);
                return None;
            }
        };
        if let Some(source) = path.source().filter(|source| !offer.lora_sources.contains(source)) {
            self.wrong(field, "feature_not_supported", not_loaded(source, is_hub_id), &input);
            return None;
        }
        Some(path)
    }
}

/// Why no worker loads a LoRA from this source. `is_hub_id`: the path has the form of a file in a folder, too.
fn not_loaded(source: LoraSource, is_hub_id: bool) -> String {
    let flag = source.flag();
    let mut msg =
        format!("No worker of this app loads LoRAs from {source}: an operator allows it with {flag}");
    if is_hub_id {
        msg.push_str(
            ". A file in a folder of the workers' --lora-dir is named with its ending, FOLDER/FILE.safetensors",
        );
    }
    msg
}
