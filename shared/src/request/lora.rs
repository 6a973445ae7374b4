//! The LoRAs of a request: their paths and scales.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    dialect::{Names, Unknown},
    field_error::{FieldError, Loc},
    fields::{Fields, Least},
    lora_path::{LoraPath, LoraSource, fals_hub_id},
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
}

impl Fields {
    /// Reads `loras`: returns the valid ones, and records the errors of the others.
    pub(super) fn loras(&mut self, offer: &Offer, unknown: Unknown, names: Names) -> Vec<Lora> {
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
            let path = fields.lora_path(offer, names);
            let scale = fields.float("scale", Least::From(-MAX_LORA_SCALE), MAX_LORA_SCALE).unwrap_or(1.0);
            if unknown == Unknown::Refused {
                fields.refuse_rest();
            }
            self.errors.append(&mut fields.errors);
            loras.extend(path.map(|path| Lora { path, scale }));
        }
        loras
    }

    fn lora_path(&mut self, offer: &Offer, names: Names) -> Option<LoraPath> {
        let field = "path";
        let errors = self.errors.len();
        let text = self.required_text(field, 1, usize::MAX);
        if self.errors.len() > errors {
            return None;
        }
        let input = Value::from(&text[..]);
        let hub_id = fals_hub_id(&text).filter(|_| names.are_fal());
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
