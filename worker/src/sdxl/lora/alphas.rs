//! Scales that stand beside the tensors: peft's settings, which diffusers writes into a file's metadata, and
//! `PeftModel.save_pretrained` into `adapter_config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::names::PEFT_MODEL;
use super::target::{LoraTarget, ModuleName};
use crate::sdxl::error::{LoadError, Shown};
use crate::sdxl::foreign;
use crate::sdxl::settings::quote_non_finite;
use crate::sdxl::weights::Shards;

/// The key in the metadata (diffusers `loaders/lora_base.py`).
const KEY: &str = "lora_adapter_metadata";

/// The file of peft's settings, and the stem of the weights beside it.
const FILE: &str = "adapter_config.json";
const BESIDE: &str = "adapter_model";

/// The most bytes of [`FILE`].
const FILE_BYTES: u64 = 1 << 20;

/// Values of `peft_type` whose tensors are read.
const KINDS: [&str; 3] = ["LORA", "LOHA", "LOKR"];

/// Characters that make a key of `alpha_pattern` a regular expression. peft allows them; a dot is part of most names.
const REGEX: [char; 13] = ['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '^', '$', '\\'];

/// The start of a key of `alpha_pattern` that is a whole name and not the end of one.
const EXACT: char = '^';

/// The settings of each component.
#[derive(Debug, Default)]
pub(super) struct Alphas(BTreeMap<LoraTarget, Setting>);

#[derive(Debug, Clone)]
struct Setting {
    alpha: Option<f64>,
    /// The rank: only for changes without low-rank matrices.
    rank: Option<f64>,
    /// The alphas and ranks of modules, by full name or the end of it. See [`EXACT`].
    alphas: Vec<(String, f64)>,
    ranks: Vec<(String, f64)>,
    /// Whether alpha is divided by the root of the rank.
    rslora: bool,
    /// Whether each module has DoRA's lengths.
    dora: bool,
    /// Whether peft wrote LoKr: it scales matrices without a rank too.
    lokr: bool,
}

/// The file with the settings of peft beside a LoRA file.
pub fn settings_beside(lora: &Path) -> PathBuf {
    lora.with_file_name(FILE)
}

impl Alphas {
    /// Reads the metadata, whose keys are such as `unet.lora_alpha`, or the file beside.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(shards: &Shards) -> Result<Self, String> {
        if let Some(text) = shards.metadata().remove(KEY) {
            let settings = object(KEY, &text)?;
            let read =
                |target: LoraTarget| Ok((target, Setting::read(KEY, &settings, &format!("{target}."))?));
            return LoraTarget::NAMED.into_iter().map(read).collect::<Result<_, _>>().map(Self);
        }
        let is_peft = shards.has_any(PEFT_MODEL)
            || LoraTarget::NAMED.iter().any(|target| shards.has_any(&format!("{target}.{PEFT_MODEL}")))
            || shards.path().file_stem().is_some_and(|stem| stem == BESIDE);
        let path = settings_beside(shards.path());
        if !is_peft || !path.is_file() {
            return Ok(Self::default());
        }
        let beside = |message: String| format!("{FILE} beside it: {message}");
        if std::fs::metadata(&path).is_ok_and(|file| file.len() > FILE_BYTES) {
            return Err(beside(format!("has more than {FILE_BYTES} bytes")));
        }
        let text = foreign::read_text(&path).map_err(|error| match error {
            LoadError::Malformed { message, .. } => beside(message),
            LoadError::Unreadable { source, .. } => beside(source.to_string()),
            // The file's folder is not named.
            _ => beside("cannot be read".to_owned()),
        })?;
        let settings = object(FILE, &text.unwrap_or_default())?;
        let setting = Setting::read(FILE, &settings, "")?;
        let targets = LoraTarget::NAMED.into_iter().chain([LoraTarget::AnyTextEncoder]);
        Ok(Self(targets.map(|target| (target, setting.clone())).collect()))
    }

    /// alpha / rank of a module without an alpha tensor; 1 if there is no alpha.
    pub(super) fn factor(&self, component: LoraTarget, module: &ModuleName, rank: usize) -> f64 {
        self.0.get(&component).and_then(|setting| setting.factor(module, rank as f64)).unwrap_or(1.0)
    }

    /// The factor of a LoKr of two whole matrices: 1, except in files of peft.
    pub(super) fn whole_factor(&self, component: LoraTarget, module: &ModuleName) -> f64 {
        let factor = |setting: &Setting| {
            let rank = setting.rank.map(|rank| special(&setting.ranks, module).unwrap_or(rank))?;
            setting.factor(module, rank)
        };
        self.0.get(&component).filter(|setting| setting.lokr).and_then(factor).unwrap_or(1.0)
    }

    /// Whether the settings say that each module of the component has DoRA's lengths.
    pub(super) fn says_dora(&self, component: LoraTarget) -> bool {
        self.0.get(&component).is_some_and(|setting| setting.dora)
    }
}

impl Setting {
    /// Reads the settings whose keys start with `prefix`. `place` names where they are, for messages.
    fn read(place: &str, settings: &Map<String, Value>, prefix: &str) -> Result<Self, String> {
        let get = |key: &str| {
            let key = format!("{prefix}{key}");
            settings.get(&key).filter(|value| !value.is_null()).map(|value| (key, value))
        };
        let number_of = |key: &str| get(key).map(|(key, value)| number(place, &key, value)).transpose();
        let flag_of = |key: &str| get(key).map(|(key, value)| flag(place, &key, value)).transpose();
        let kind = get("peft_type").and_then(|(_, kind)| kind.as_str());
        if let Some(kind) = kind.filter(|kind| !KINDS.contains(kind)) {
            return Err(format!("{place}: \"peft_type\" is {}, which is not supported", Shown(kind)));
        }
        let pattern = |key: &str| {
            let Some((key, value)) = get(key) else { return Ok(Vec::new()) };
            let modules = value.as_object().ok_or_else(|| wrong(place, &key, value, "a JSON object"))?;
            let one = |(module, value): (&String, &Value)| {
                let key = format!("{key}.{module}");
                if module.strip_prefix(EXACT).unwrap_or(module).contains(REGEX) {
                    let shown = Shown(&key);
                    return Err(format!("{place}: {shown} is a regular expression, which is not supported"));
                }
                Ok((module.clone(), number(place, &key, value)?))
            };
            modules.iter().map(one).collect::<Result<Vec<_>, String>>()
        };
        let alpha = match number_of("lora_alpha")? {
            None => number_of("alpha")?,
            alpha => alpha,
        };
        let lokr = kind == Some("LOKR");
        Ok(Self {
            alpha,
            // Not checked otherwise: nothing else depends on it.
            rank: if lokr { number_of("r")?.filter(|rank| *rank > 0.0) } else { None },
            alphas: pattern("alpha_pattern")?,
            ranks: if lokr { pattern("rank_pattern")? } else { Vec::new() },
            rslora: flag_of("use_rslora")?.unwrap_or(false),
            dora: flag_of("use_dora")?.unwrap_or(false),
            lokr,
        })
    }

    fn factor(&self, module: &ModuleName, rank: f64) -> Option<f64> {
        let alpha = special(&self.alphas, module).or(self.alpha)?;
        Some(if self.rslora { alpha / rank.sqrt() } else { alpha / rank })
    }
}

/// The value of a module in a pattern.
fn special(pattern: &[(String, f64)], module: &ModuleName) -> Option<f64> {
    let name = module.name();
    let is_meant = |key: &str| match key.strip_prefix(EXACT) {
        Some(whole) => name == whole,
        None => name == key || name.ends_with(&format!(".{key}")),
    };
    pattern.iter().find(|(key, _)| is_meant(key)).map(|(_, value)| *value)
}

fn object(place: &str, text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(&quote_non_finite(text)).map_err(|e| format!("{place}: {e}"))? {
        Value::Object(settings) => Ok(settings),
        _ => Err(format!("{place} is {}, and should be a JSON object", Shown(text))),
    }
}

/// A number, or a string with a number.
fn number(place: &str, key: &str, value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    number
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| wrong(place, key, value, "a finite number"))
}

/// A boolean, or a string with a boolean.
fn flag(place: &str, key: &str, value: &Value) -> Result<bool, String> {
    let text = match value {
        Value::Null => return Ok(false),
        Value::String(text) => text.trim().to_lowercase(),
        value => value.to_string(),
    };
    match text.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong(place, key, value, "true or false")),
    }
}

fn wrong(place: &str, key: &str, value: &Value, wanted: &str) -> String {
    format!("{place}: {} is {}, and should be {wanted}", Shown(key), Shown(&value.to_string()))
}
