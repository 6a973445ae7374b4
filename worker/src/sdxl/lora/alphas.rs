//! Scales in a LoRA file's metadata: diffusers writes peft's settings there.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::names::{LoraTarget, ModuleName};
use crate::sdxl::error::Shown;
use crate::sdxl::settings::quote_non_finite;
use crate::sdxl::weights::Shards;

/// The key in the metadata (diffusers `loaders/lora_base.py`).
const KEY: &str = "lora_adapter_metadata";

/// Characters that make a key of `alpha_pattern` a regular expression. peft allows them; a dot is part of most names.
const REGEX: [char; 13] = ['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '^', '$', '\\'];

/// The start of a key of `alpha_pattern` that is a whole name and not the end of one.
const EXACT: char = '^';

/// The settings of each component.
#[derive(Debug, Default)]
pub(super) struct Alphas(BTreeMap<LoraTarget, Setting>);

#[derive(Debug)]
struct Setting {
    alpha: Option<f64>,
    /// The alphas of modules, by full name or the end of it. See [`EXACT`].
    pattern: Vec<(String, f64)>,
    /// Whether alpha is divided by the root of the rank.
    rslora: bool,
}

impl Alphas {
    /// Reads the metadata, whose keys are such as `unet.lora_alpha`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(shards: &Shards) -> Result<Self, String> {
        let Some(text) = shards.metadata().remove(KEY) else { return Ok(Self::default()) };
        let settings = serde_json::from_str(&quote_non_finite(&text)).map_err(|e| format!("{KEY}: {e}"))?;
        let Value::Object(settings) = settings else {
            return Err(format!("{KEY} is {}, and should be a JSON object", Shown(&text)));
        };
        for (key, value) in settings.iter().filter(|(key, _)| key.ends_with(".use_dora")) {
            if flag(key, value)? {
                return Err(format!("{KEY}: {} is not supported", Shown(key)));
            }
        }
        let targets = [LoraTarget::Unet, LoraTarget::TextEncoder(0), LoraTarget::TextEncoder(1)];
        targets
            .into_iter()
            .map(|target| Ok((target, Setting::read(&settings, target)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// alpha / rank of a module without an alpha tensor; 1 if the metadata has no alpha.
    pub(super) fn factor(&self, component: LoraTarget, module: &ModuleName, rank: usize) -> f64 {
        let Some(setting) = self.0.get(&component) else { return 1.0 };
        let (name, rank) = (module.name(), rank as f64);
        let is_meant = |key: &str| match key.strip_prefix(EXACT) {
            Some(whole) => name == whole,
            None => name == key || name.ends_with(&format!(".{key}")),
        };
        let special = setting.pattern.iter().find(|(key, _)| is_meant(key)).map(|(_, alpha)| *alpha);
        let Some(alpha) = special.or(setting.alpha) else { return 1.0 };
        if setting.rslora { alpha / rank.sqrt() } else { alpha / rank }
    }
}

impl Setting {
    fn read(settings: &Map<String, Value>, component: LoraTarget) -> Result<Self, String> {
        let get = |key: &str| {
            let key = format!("{component}.{key}");
            settings.get(&key).filter(|value| !value.is_null()).map(|value| (key, value))
        };
        let alpha = get("lora_alpha").map(|(key, value)| number(&key, value)).transpose()?;
        let rslora = get("use_rslora").map(|(key, value)| flag(&key, value)).transpose()?.unwrap_or(false);
        let mut pattern = Vec::new();
        if let Some((key, value)) = get("alpha_pattern") {
            let modules = value.as_object().ok_or_else(|| wrong(&key, value, "a JSON object"))?;
            for (module, alpha) in modules {
                let key = format!("{key}.{module}");
                if module.strip_prefix(EXACT).unwrap_or(module).contains(REGEX) {
                    return Err(format!(
                        "{KEY}: {} is a regular expression, which is not supported",
                        Shown(&key)
                    ));
                }
                pattern.push((module.clone(), number(&key, alpha)?));
            }
        }
        Ok(Self { alpha, pattern, rslora })
    }
}

/// A number, or a string with a number.
fn number(key: &str, value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    number.filter(|number: &f64| number.is_finite()).ok_or_else(|| wrong(key, value, "a finite number"))
}

/// A boolean, or a string with a boolean.
fn flag(key: &str, value: &Value) -> Result<bool, String> {
    let text = match value {
        Value::Null => return Ok(false),
        Value::String(text) => text.trim().to_lowercase(),
        value => value.to_string(),
    };
    match text.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong(key, value, "true or false")),
    }
}

fn wrong(key: &str, value: &Value, wanted: &str) -> String {
    format!("{KEY}: {} is {}, and should be {wanted}", Shown(key), Shown(&value.to_string()))
}
