//! Marks in a weight file: the prediction type of the UNet and zero terminal SNR.
//!
//! A wrong prediction type gives only noise, so all marks are read. There are three kinds: empty tensors at the root of
//! the file (ComfyUI, AUTOMATIC1111, NoobAI), keys of Stability's ModelSpec in the metadata (sd-scripts, ComfyUI, model
//! sites) and sd-scripts' own keys in the metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, INSTEAD};
use crate::sdxl::{LoadError, Settings, Shards};

/// Where tools put the marks of a UNet: at the root of the file, or beside the UNet's tensors.
const PREFIXES: [&str; 5] = ["", "model.diffusion_model.", "diffusion_model.", "model.", "state_dict."];

/// The tensor that marks v prediction.
const V_PRED: &str = "v_pred";
/// The tensor that marks zero terminal SNR.
const ZERO_SNR: &str = "ztsnr";
/// sd-scripts' metadata key for zero terminal SNR.
const KOHYA_ZERO_SNR: &str = "ss_zero_terminal_snr";

/// The metadata keys that name a prediction type: ModelSpec's, its earlier form, and both without their prefix.
const PREDICTION_KEYS: [&str; 4] =
    ["modelspec.prediction_type", "modelspec.predict_key", "prediction_type", "predict_key"];
/// sd-scripts' metadata key for v prediction.
const KOHYA_V: &str = "ss_v_parameterization";

/// A prediction type that a file states, and the key that states it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    key: &'static str,
    /// As `prediction_type` of `scheduler_config.json`.
    prediction: &'static str,
}

/// The marks of a file. Without a mark the configuration decides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The file, for the log.
    file: String,
    prediction: Option<Mark>,
    /// Two metadata marks that contradict each other.
    contradiction: Option<(Mark, Mark)>,
    /// Whether the file has zero terminal SNR, and the key that says so.
    zero_snr: Option<(&'static str, bool)>,
}

impl Marks {
    /// Reads the marks of the files that hold the UNet.
    ///
    /// # Errors
    /// If they mark a parameterisation that is not implemented or another kind of model.
    pub(super) fn read(shards: &Shards) -> Result<Self, LoadError> {
        let metadata: BTreeMap<_, _> =
            shards.metadata().into_iter().map(|(key, value)| (key.to_lowercase(), plain(&value))).collect();
        let says = |key: &str| metadata.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let wrong = |key: &str, message: String| LoadError::Setting {
            path: shards.path().into(),
            key: key.into(),
            message,
        };

        let marked = marked(shards);
        if let Some((mark, name)) = marked.iter().find(|(mark, _)| mark.starts_with("edm")) {
            let message = format!("marks a model of {}, which is not supported: {INSTEAD}", edm(mark));
            return Err(wrong(name, message));
        }
        let architecture = says("modelspec.architecture").map(|value| (value, Architecture::of(value)));
        if let Some((value, Architecture::NotSupported(why))) = &architecture {
            return Err(wrong("modelspec.architecture", format!("is {value:?}, {why}")));
        }
        if let Some(process) = says("modelspec.noise_process")
            && ["flow", "edm"].iter().any(|other| process.contains(other))
        {
            let message = format!("is {process:?}, which is not supported: {INSTEAD}");
            return Err(wrong("modelspec.noise_process", message));
        }
        if says("ss_flow_model").and_then(flag) == Some(true) {
            let message = format!("marks a model of flow matching, which is not supported: {INSTEAD}");
            return Err(wrong("ss_flow_model", message));
        }

        let mut stated = Vec::new();
        for key in PREDICTION_KEYS {
            let Some(value) = says(key) else { continue };
            let prediction = prediction(value)
                .ok_or_else(|| wrong(key, format!("is {value:?}, which is not supported: {INSTEAD}")))?;
            stated.push(Mark { key, prediction });
        }
        if let Some((_, Architecture::VPrediction)) = architecture {
            stated.push(Mark { key: "modelspec.architecture", prediction: "v_prediction" });
        }
        let said = |key: &'static str| match says(key) {
            None => Ok(None),
            Some(value) => flag(value).map(Some).ok_or_else(|| {
                wrong(
                    key,
                    format!("is {value:?}, which is neither True nor False: correct or remove the entry"),
                )
            }),
        };
        if let Some(v) = said(KOHYA_V)? {
            stated.push(Mark { key: KOHYA_V, prediction: if v { "v_prediction" } else { "epsilon" } });
        }
        let other = stated.iter().find(|mark| mark.prediction != stated[0].prediction).cloned();
        let mut marks = Self { file: shards.path().display().to_string(), ..Self::default() };
        if marked.contains_key(V_PRED) {
            let tensor = Mark { key: V_PRED, prediction: "v_prediction" };
            // Other programs use the tensor. Metadata may be left over from merged models.
            for mark in stated.iter().filter(|mark| mark.prediction != tensor.prediction) {
                let (file, key, says) = (&marks.file, mark.key, mark.prediction);
                tracing::warn!(
                    "{file}: {key} says {says}, but the file has a tensor {V_PRED}: v_prediction is used"
                );
            }
            marks.prediction = Some(tensor);
        } else {
            let first = stated.into_iter().next();
            (marks.prediction, marks.contradiction) = match (first, other) {
                (Some(first), Some(other)) => (None, Some((first, other))),
                (first, _) => (first, None),
            };
        }
        marks.zero_snr = match marked.contains_key(ZERO_SNR) {
            true => Some((ZERO_SNR, true)),
            false => said(KOHYA_ZERO_SNR)?.map(|zero| (KOHYA_ZERO_SNR, zero)),
        };
        Ok(marks)
    }

    /// The settings of `scheduler_config.json`, with the values of the marks. Each change is logged.
    ///
    /// # Errors
    /// If the metadata contradicts itself and the settings do not decide. `built_in` settings never decide.
    pub(super) fn apply(&self, scheduler: &Settings, built_in: bool) -> Result<Settings, LoadError> {
        let mut changes = Map::new();
        let mut set = |mark: &str, key: &'static str, value: Value| -> Result<(), LoadError> {
            let before: Option<Value> = scheduler.get(key)?;
            // The default of every class is "epsilon", without rescaled betas.
            let agreed = match &before {
                Some(before) => *before == value,
                None => value == "epsilon" || value == false,
            };
            if agreed {
                return Ok(());
            }
            let file = &self.file;
            let before = before.map_or_else(|| "nothing".to_owned(), |before| before.to_string());
            let config = scheduler.path().display();
            if built_in {
                tracing::info!("{file}: {mark} is read as {key} {value}");
            } else {
                tracing::warn!(
                    "{file}: {mark} is read as {key} {value}; {config} says {before}, which is ignored"
                );
            }
            changes.insert(key.to_owned(), value);
            Ok(())
        };
        if let Some(Mark { key, prediction }) = &self.prediction {
            set(key, "prediction_type", json!(prediction))?;
        }
        if let Some((mark, zero)) = self.zero_snr {
            set(mark, "rescale_betas_zero_snr", json!(zero))?;
            if zero {
                // Only "trailing" and "linspace" begin at the last timestep, which is the one without signal.
                set(mark, "timestep_spacing", json!("trailing"))?;
            }
        }
        if let Some((one, other)) = &self.contradiction {
            let decided = if built_in { None } else { scheduler.get::<String>("prediction_type")? };
            let (key, says) = (one.key, one.prediction);
            let message = format!("says {says}, but {} says {}", other.key, other.prediction);
            match decided {
                Some(decided) => {
                    let config = scheduler.path().display();
                    tracing::warn!("{}: {key} {message}; {decided} is used, as {config} says", self.file);
                }
                None => {
                    let message = format!(
                        "{message}: name a folder with --config whose scheduler/scheduler_config.json has the \
                         right prediction_type"
                    );
                    return Err(LoadError::Setting {
                        path: self.file.clone().into(),
                        key: key.into(),
                        message,
                    });
                }
            }
        }
        let settings = scheduler.with(&changes);
        let zero_snr = matches!(self.zero_snr, Some((_, true)));
        if zero_snr && settings.or("prediction_type", String::from("epsilon"))? == "epsilon" {
            tracing::warn!(
                "{}: it is marked for zero terminal SNR, but not for v prediction: a model that predicts noise cannot \
                 be used at the first step. If it predicts v, name a folder with --config whose \
                 scheduler/scheduler_config.json has \"prediction_type\": \"v_prediction\"",
                self.file
            );
        }
        Ok(settings)
    }
}

/// The marks among the tensors, of any type and shape: each without its prefix and in lower case, and its name in the
/// file.
fn marked(shards: &Shards) -> BTreeMap<String, &str> {
    let mut marks = BTreeMap::new();
    for name in shards.names("") {
        let places = PREFIXES.iter().filter_map(|prefix| name.strip_prefix(prefix));
        let mark = places.map(str::to_lowercase).find(|mark| {
            mark == V_PRED || mark == ZERO_SNR || mark.starts_with("edm_") || mark.starts_with("edm.")
        });
        marks.extend(mark.map(|mark| (mark, name)));
    }
    marks
}

/// The parameterisation that a tensor beginning with `edm` marks; the names are ComfyUI's.
fn edm(mark: &str) -> &'static str {
    match mark {
        "edm_mean" | "edm_std" => "EDM with normalised latents, as Playground v2.5",
        _ if mark.starts_with("edm_vpred.") => "EDM with v prediction, as CosXL",
        _ => "EDM",
    }
}

/// A metadata value in lower case. Some tools write quotes around it, or Python's `None` for no value.
fn plain(value: &str) -> String {
    let value = value.trim().trim_matches('"').trim().to_lowercase();
    if matches!(value.as_str(), "none" | "null") { String::new() } else { value }
}

/// The prediction type of a metadata value.
fn prediction(value: &str) -> Option<&'static str> {
    match value.replace(['-', ' '], "_").as_str() {
        "epsilon" | "eps" | "noise" | "epsilon_prediction" | "eps_prediction" | "eps_pred" => Some("epsilon"),
        "v" | "v_prediction" | "v_pred" | "vpred" | "v_parameterization" | "velocity" => Some("v_prediction"),
        "x0" | "x_0" | "x0_prediction" | "x_start" | "sample" | "original_sample" => Some("sample"),
        _ => None,
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}
