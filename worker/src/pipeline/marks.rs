//! Marks in a weight file: the prediction type of the UNet and zero terminal SNR.
//!
//! A wrong prediction type gives only noise, so all marks are read. There are three kinds: empty tensors at the root of
//! the file (ComfyUI, AUTOMATIC1111, NoobAI), keys of Stability's ModelSpec in the metadata (sd-scripts, ComfyUI, model
//! sites) and sd-scripts' own keys in the metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::sdxl::{LoadError, Settings, Shards};

/// The prefix of the UNet's tensors in a single file. Tools that save only the UNet may put marks below it.
const UNET_PREFIX: &str = "model.diffusion_model.";

/// The tensor that marks v prediction.
const V_PRED: &str = "v_pred";
/// The tensor that marks zero terminal SNR.
const ZERO_SNR: &str = "ztsnr";
/// sd-scripts' metadata key for zero terminal SNR.
const KOHYA_ZERO_SNR: &str = "ss_zero_terminal_snr";

/// Tensors that mark parameterisations which are not implemented, and the name of each parameterisation.
const REFUSED: [(&str, &str); 4] = [
    ("edm_mean", "EDM with normalised latents, as Playground v2.5"),
    ("edm_std", "EDM with normalised latents, as Playground v2.5"),
    ("edm_vpred.sigma_max", "EDM with v prediction, as CosXL"),
    ("edm_vpred.sigma_min", "EDM with v prediction, as CosXL"),
];

/// What the user can do about a model that is not supported.
const INSTEAD: &str = "use a checkpoint of SDXL base with epsilon or v prediction";

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
    zero_snr: Option<&'static str>,
}

impl Marks {
    /// Reads the marks of the files that hold the UNet.
    ///
    /// # Errors
    /// If they mark a parameterisation that is not implemented or another kind of model.
    pub(super) fn read(shards: &Shards) -> Result<Self, LoadError> {
        let metadata: BTreeMap<_, _> =
            shards.metadata().into_iter().map(|(key, value)| (key, plain(&value))).collect();
        let says = |key: &str| metadata.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let wrong = |key: &str, message: String| LoadError::Setting {
            path: shards.path().into(),
            key: key.into(),
            message,
        };

        for (key, name) in REFUSED {
            if has(shards, key) {
                return Err(wrong(
                    key,
                    format!("marks a model of {name}, which is not supported: {INSTEAD}"),
                ));
            }
        }
        if let Some(architecture) = says("modelspec.architecture")
            && let Some(what) = another_model(architecture)
        {
            return Err(wrong("modelspec.architecture", format!("is {architecture:?}, {what}")));
        }
        if let Some(process) = says("modelspec.noise_process")
            && ["flow", "edm"].iter().any(|other| process.contains(other))
        {
            let message = format!("is {process:?}, which is not supported: {INSTEAD}");
            return Err(wrong("modelspec.noise_process", message));
        }

        let mut stated = Vec::new();
        for key in ["modelspec.prediction_type", "modelspec.predict_key"] {
            let Some(value) = says(key) else { continue };
            let prediction = prediction(value)
                .ok_or_else(|| wrong(key, format!("is {value:?}, which is not supported: {INSTEAD}")))?;
            stated.push(Mark { key, prediction });
        }
        if let Some(value) = says("ss_v_parameterization").and_then(flag) {
            let prediction = if value { "v_prediction" } else { "epsilon" };
            stated.push(Mark { key: "ss_v_parameterization", prediction });
        }
        let other = stated.iter().find(|mark| mark.prediction != stated[0].prediction).cloned();
        let mut marks = Self { file: shards.path().display().to_string(), ..Self::default() };
        if has(shards, V_PRED) {
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
        marks.zero_snr = if has(shards, ZERO_SNR) {
            Some(ZERO_SNR)
        } else {
            says(KOHYA_ZERO_SNR).and_then(flag).and_then(|zero| zero.then_some(KOHYA_ZERO_SNR))
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
            // The default of every class is "epsilon".
            let agreed = before.as_ref().map_or(value == "epsilon", |before| *before == value);
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
        if let Some(mark) = self.zero_snr {
            set(mark, "rescale_betas_zero_snr", json!(true))?;
            // Zero terminal SNR needs the last timestep, and "leading" does not start at it.
            set(mark, "timestep_spacing", json!("trailing"))?;
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
        if self.zero_snr.is_some() && settings.or("prediction_type", String::from("epsilon"))? == "epsilon" {
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

/// Whether there is a tensor of that name, of any dtype and shape.
fn has(shards: &Shards, key: &str) -> bool {
    let inside = format!("{UNET_PREFIX}{key}");
    [key, &inside].iter().any(|name| shards.names(name).next() == Some(name))
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
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// Why a ModelSpec architecture, in lower case, is not supported; `None` for SDXL base. Also `None` for an unknown
/// architecture, for which the tensors decide.
fn another_model(architecture: &str) -> Option<String> {
    /// Prefixes of architectures that are not SDXL.
    const OTHERS: [&str; 22] = [
        "stable-diffusion-v",
        "stable-diffusion-1",
        "stable-diffusion-2",
        "stable-diffusion-3",
        "sd1",
        "sd2",
        "sd3",
        "sd_v",
        "stable-cascade",
        "stable-video",
        "flux",
        "chroma",
        "lumina",
        "hunyuan",
        "pixart",
        "auraflow",
        "kandinsky",
        "qwen",
        "sana",
        "wan",
        "hidream",
        "z-image",
    ];
    /// Variants of SDXL that are not supported, by a word in the name.
    const VARIANTS: [(&str, &str); 8] = [
        ("refiner", "a refiner"),
        ("inpaint", "an inpainting model"),
        ("inpainting", "an inpainting model"),
        ("edit", "an editing model"),
        ("ip2p", "an editing model"),
        ("pix2pix", "an editing model"),
        ("instructpix2pix", "an editing model"),
        ("kolors", "a model with another text encoder"),
    ];
    // For example "stable-diffusion-xl-v1-base/lora".
    if let Some((_, adapter)) = architecture.split_once('/') {
        let lora = adapter.contains("lora") && !adapter.contains("control");
        let message = format!("which is no checkpoint, but a {adapter}");
        return Some(match lora {
            true => format!("{message}: put it into the folder of --lora-dir and name it in a request"),
            false => format!("{message}: {INSTEAD}"),
        });
    }
    let words: Vec<_> = architecture.split(|c: char| !c.is_alphanumeric()).collect();
    if let Some((_, what)) = VARIANTS.iter().find(|(word, _)| words.contains(word)) {
        return Some(format!("{what}, which is not supported: {INSTEAD}"));
    }
    let other = OTHERS.iter().any(|start| architecture.starts_with(start));
    other.then(|| format!("which is not supported: {INSTEAD}"))
}
