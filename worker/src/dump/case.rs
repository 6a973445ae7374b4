//! One request of a `cases.json`, with the field names of the parity fixtures.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use glimpse_shared::prompt::PromptSyntax;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::noise::GeneratorKind;
use crate::pipeline::{
    ControlChoice, EdgeThresholds, EmbeddingChoice, HeightWidth, Hires, InputLatents, Inputs, LoraChoice,
    Rgb, SchedulerChoice,
};
use crate::sdxl::{Precision, quote_non_finite};

/// A request. Unknown fields are in `other`.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Its name; the fixture and the dump are `NAME.safetensors`.
    pub name: String,
    prompt: String,
    prompt_2: Option<String>,
    negative_prompt: Option<String>,
    negative_prompt_2: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    prompt_syntax: PromptSyntax,
    #[serde(default, deserialize_with = "null_is_default")]
    long_prompt: bool,
    steps: usize,
    guidance_scale: f64,
    #[serde(default, deserialize_with = "null_is_default")]
    guidance_rescale: f64,
    height: u32,
    width: u32,
    seed: u64,
    #[serde(default, deserialize_with = "null_is_default")]
    scheduler: Map<String, Value>,
    /// Noise levels, with the last one: `steps` is one less.
    sigmas: Option<Value>,
    timesteps: Option<Value>,
    eta: Option<Value>,
    num_images_per_prompt: Option<usize>,
    clip_skip: Option<usize>,
    original_size: Option<[u32; 2]>,
    target_size: Option<[u32; 2]>,
    crops_coords_top_left: Option<[u32; 2]>,
    negative_original_size: Option<[u32; 2]>,
    negative_target_size: Option<[u32; 2]>,
    negative_crops_coords_top_left: Option<[u32; 2]>,
    #[serde(default, deserialize_with = "null_is_default")]
    weights: Weights,
    #[serde(default, deserialize_with = "null_is_default")]
    generator: Generator,
    #[serde(default, deserialize_with = "null_is_default")]
    /// The steps, from 0, after which there are previews.
    pub preview_steps: Vec<usize>,
    #[serde(default, deserialize_with = "null_is_default")]
    pipeline: Kind,
    strength: Option<f64>,
    #[serde(default, deserialize_with = "null_is_default")]
    loras: Vec<LoraField>,
    #[serde(default, deserialize_with = "null_is_default")]
    controlnets: Vec<ControlField>,
    #[serde(default, deserialize_with = "null_is_default")]
    embeddings: Vec<EmbeddingField>,
    denoising_start: Option<f64>,
    denoising_end: Option<f64>,
    refiner: Option<RefinerField>,
    aesthetic_score: Option<f64>,
    negative_aesthetic_score: Option<f64>,
    padding_mask_crop: Option<u32>,
    hires: Option<HiresField>,
    /// Information about the result; not part of the request.
    #[serde(rename = "info")]
    _info: Option<Value>,
    #[serde(rename = "tensors")]
    _tensors: Option<Value>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Reads `null` as a missing field.
fn null_is_default<'de, D, T>(value: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Weights {
    #[default]
    Fp32,
    Fp16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Generator {
    #[default]
    Cpu,
    Cuda,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Txt2img,
    Img2img,
    Inpaint,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoraField {
    path: PathBuf,
    scale: Option<f64>,
    unet_scale: Option<f64>,
    text_scale: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefinerField {
    path: PathBuf,
    aesthetic_score: Option<f64>,
    negative_aesthetic_score: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HiresField {
    scale: f64,
    strength: f64,
    steps: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlField {
    /// A folder or a file, from the folder of the `cases.json`.
    path: PathBuf,
    /// The name of its picture's tensor.
    image: String,
    scale: Option<f64>,
    start: Option<f64>,
    end: Option<f64>,
    /// The kind of picture, for a union ControlNet.
    #[serde(alias = "control_mode")]
    mode: Option<usize>,
    /// Low and high threshold of Canny's edges.
    canny: Option<[u16; 2]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddingField {
    path: PathBuf,
    token: Option<String>,
    tokens: Option<Vec<String>>,
}

/// The name of a request, and the request or what is wrong with it.
pub type Named = (String, Result<Case, String>);

impl Case {
    /// All requests of a file. An error in one request does not affect the others.
    ///
    /// # Errors
    /// If the file cannot be read or is not a list.
    pub fn read(path: &Path) -> Result<Vec<Named>, Box<dyn std::error::Error>> {
        let text = std::fs::read_to_string(path)?;
        let all: Vec<Value> = serde_json::from_str(&quote_non_finite(&text))?;
        let named = all.into_iter().enumerate().map(|(number, value)| {
            let name = value.get("name").and_then(Value::as_str).map(str::to_owned);
            let case = serde_path_to_error::deserialize(&value).map_err(|e| match e.path().to_string() {
                field if field == "." => e.into_inner().to_string(),
                field => format!("field {field:?}: {}", e.into_inner()),
            });
            (name.unwrap_or_else(|| format!("request {number}")), case)
        });
        Ok(named.collect())
    }

    /// Which weight files to read.
    pub fn precision(&self) -> Precision {
        if self.weights == Weights::Fp16 { Precision::Half } else { Precision::Full }
    }

    /// The refiner's checkpoint; `folder` has the files of the cases. A path is relative to the folder of the cases, if
    /// something of that name exists there.
    pub fn refiner(&self, folder: &Path) -> Option<PathBuf> {
        let path = &self.refiner.as_ref()?.path;
        let beside = folder.with_file_name("").join(path);
        Some(if beside.exists() { beside } else { path.clone() })
    }

    /// A tensor of the request, from its safetensors file in `folder`; `None` if it has none of that name.
    fn tensor(&self, folder: &Path, tensor: &str) -> Result<Option<Tensor>, String> {
        let path = folder.join(format!("{}.safetensors", self.name));
        let missing = |e: candle_core::Error| format!("field \"pipeline\": {}: {e}", path.display());
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu).map_err(missing)?;
        Ok(tensors.get(tensor).cloned())
    }

    /// A picture of the request.
    fn image(&self, folder: &Path, tensor: &str) -> Result<Rgb, String> {
        let wrong = |e: candle_core::Error| format!("field \"pipeline\": {tensor}: {e}");
        let image = self.tensor(folder, tensor)?.ok_or(format!("field \"pipeline\": no {tensor}"))?;
        let (_, height, width, _) = image.dims4().map_err(wrong)?;
        let data = image.flatten_all().and_then(|t| t.to_vec1()).map_err(wrong)?;
        Ok(Rgb { width: width as u32, height: height as u32, data })
    }

    /// The latents of the request, which replace the picture.
    fn latents(&self, folder: &Path) -> Result<Option<InputLatents>, String> {
        let Some(latents) = self.tensor(folder, "input_latents")? else { return Ok(None) };
        let read = || -> candle_core::Result<InputLatents> {
            let (b, c, h, w) = latents.dims4()?;
            let values = latents.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            Ok(InputLatents { shape: [b, c, h, w], values })
        };
        read().map(Some).map_err(|e| format!("input_latents: {e}"))
    }

    /// The pipeline's inputs for the request; `folder` has the files of the cases.
    ///
    /// # Errors
    /// Names a field that is not supported.
    pub fn inputs(&self, folder: &Path) -> Result<Inputs, String> {
        if let Some(field) = self.other.keys().next() {
            return Err(format!("field {field:?} is not supported"));
        }
        let given = |tensor: &str| self.image(folder, tensor).map(Some);
        let latents = match self.pipeline {
            Kind::Img2img => self.latents(folder)?,
            Kind::Txt2img if self.denoising_start.is_some() => self.latents(folder)?,
            _ => None,
        };
        let (image, mask) = match self.pipeline {
            _ if latents.is_some() => (None, None),
            Kind::Txt2img => (None, None),
            Kind::Img2img => (given("input_image_u8")?, None),
            Kind::Inpaint => (given("input_image_u8")?, given("input_mask_u8")?),
        };
        let score = |of: fn(&RefinerField) -> Option<f64>, own: Option<f64>| {
            self.refiner.as_ref().and_then(of).or(own)
        };
        // A path is relative to the folder of the cases, if the file exists there.
        let file = |path: &PathBuf| {
            let beside = folder.with_file_name("").join(path);
            if beside.is_file() { beside } else { path.clone() }
        };
        let lora = |lora: &LoraField| LoraChoice {
            unet_scale: lora.unet_scale,
            text_scale: lora.text_scale,
            ..LoraChoice::file(file(&lora.path), lora.scale.unwrap_or(1.0))
        };
        let embedding = |embedding: &EmbeddingField| {
            let EmbeddingField { path, token, tokens } = embedding;
            let choice = EmbeddingChoice::file(file(path));
            let named = tokens.clone().or_else(|| Some(vec![token.clone()?]));
            EmbeddingChoice { tokens: named.unwrap_or(choice.tokens), ..choice }
        };
        let control = |control: &ControlField| -> Result<ControlChoice, String> {
            let image = self.image(folder, &control.image)?;
            let plain = ControlChoice::of(folder.with_file_name("").join(&control.path), image);
            Ok(ControlChoice {
                edges: control.canny.map(|[low, high]| EdgeThresholds { low, high }),
                scale: control.scale.unwrap_or(plain.scale),
                start: control.start.unwrap_or(plain.start),
                end: control.end.unwrap_or(plain.end),
                mode: control.mode,
                ..plain
            })
        };
        let size = |pair: [u32; 2]| HeightWidth { height: pair[0], width: pair[1] };
        let plain = Inputs::new(&self.prompt, self.width, self.height);
        let mut changes = self.scheduler.clone();
        for (key, value) in [("sigmas", &self.sigmas), ("timesteps", &self.timesteps), ("eta", &self.eta)] {
            changes.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
        }
        let name = changes.remove("_class_name").and_then(|n| n.as_str().map(str::to_owned));
        Ok(Inputs {
            prompt_2: self.prompt_2.clone(),
            negative_prompt: self.negative_prompt.clone(),
            negative_prompt_2: self.negative_prompt_2.clone(),
            prompt_syntax: self.prompt_syntax,
            long_prompt: self.long_prompt,
            num_inference_steps: self.steps,
            guidance_scale: self.guidance_scale,
            guidance_rescale: self.guidance_rescale,
            seed: self.seed,
            generator: Some(match self.generator {
                Generator::Cpu => GeneratorKind::Cpu,
                Generator::Cuda => GeneratorKind::Cuda,
            }),
            num_images_per_prompt: self.num_images_per_prompt.unwrap_or(1),
            clip_skip: self.clip_skip,
            original_size: self.original_size.map(size),
            target_size: self.target_size.map(size),
            crops_coords_top_left: self.crops_coords_top_left.map_or(plain.crops_coords_top_left, size),
            negative_original_size: self.negative_original_size.map(size),
            negative_target_size: self.negative_target_size.map(size),
            negative_crops_coords_top_left: self
                .negative_crops_coords_top_left
                .map_or(plain.negative_crops_coords_top_left, size),
            scheduler: (name.is_some() || !changes.is_empty()).then_some(SchedulerChoice { name, changes }),
            image,
            mask,
            loras: self.loras.iter().map(lora).collect(),
            controlnets: self.controlnets.iter().map(control).collect::<Result<_, _>>()?,
            embeddings: self.embeddings.iter().map(embedding).collect(),
            strength: self.strength.unwrap_or(plain.strength),
            latents,
            denoising_start: self.denoising_start,
            denoising_end: self.denoising_end,
            refined: self.refiner.is_some(),
            aesthetic_score: score(|r| r.aesthetic_score, self.aesthetic_score),
            negative_aesthetic_score: score(|r| r.negative_aesthetic_score, self.negative_aesthetic_score),
            padding_mask_crop: self.padding_mask_crop,
            hires: self.hires.as_ref().map(|HiresField { scale, strength, steps }| Hires {
                scale: *scale,
                strength: *strength,
                steps: *steps,
            }),
            ..plain
        })
    }
}
