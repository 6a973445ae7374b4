//! Scales in a LoRA file's metadata: diffusers writes peft's settings there.

use serde_json::{Map, Value};

use super::names::{LoraTarget, ModuleName};
use crate::sdxl::weights::Shards;

/// The key in the metadata (diffusers `loaders/lora_base.py`).
const KEY: &str = "lora_adapter_metadata";

/// The settings of all components, with keys such as `unet.lora_alpha`.
#[derive(Debug, Default)]
pub(super) struct Alphas(Map<String, Value>);

impl Alphas {
    /// Reads the metadata.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(shards: &Shards) -> Result<Self, String> {
        let Some(text) = shards.metadata().remove(KEY) else { return Ok(Self::default()) };
        let settings: Map<String, Value> = serde_json::from_str(&text).map_err(|e| format!("{KEY}: {e}"))?;
        let used = |key: &str| settings.iter().find(|(k, v)| k.ends_with(key) && v.as_bool() == Some(true));
        match used(".use_dora") {
            Some((key, _)) => Err(format!("{KEY}: {key} is not supported")),
            None => Ok(Self(settings)),
        }
    }

    /// alpha / rank of a module without an alpha tensor; 1 if the metadata has no alpha.
    pub(super) fn factor(&self, component: LoraTarget, module: &ModuleName, rank: usize) -> f64 {
        let get = |key: &str| self.0.get(&format!("{component}.{key}"));
        let rank = rank as f64;
        let pattern = get("alpha_pattern").and_then(Value::as_object).into_iter().flatten();
        // A key of the pattern is a module's full name or the end of it.
        let name = module.to_string();
        let special = pattern.filter(|(key, _)| name == **key || name.ends_with(&format!(".{key}")));
        let alpha = special.map(|(_, alpha)| alpha).next().or_else(|| get("lora_alpha"));
        let Some(alpha) = alpha.and_then(Value::as_f64) else { return 1.0 };
        match get("use_rslora").and_then(Value::as_bool) {
            Some(true) => alpha / rank.sqrt(),
            _ => alpha / rank,
        }
    }
}
