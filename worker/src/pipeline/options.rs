//! The options of a load.

use std::path::PathBuf;

use candle_core::{DType, Device};

use crate::noise::GeneratorKind;
use crate::sdxl::Precision;

/// What to load, and onto which device.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A folder in the diffusers layout, or a `.safetensors` file with SGM's names.
    pub model: PathBuf,
    /// A folder in the diffusers layout with the JSON files and tokenizers to use. `None`: the model's own, or those of
    /// SDXL base 1.0 if the model is a file.
    pub config: Option<PathBuf>,
    /// Another autoencoder than the model's: a folder with `config.json`, or a `.safetensors` file.
    pub vae: Option<PathBuf>,
    /// Other text encoders than the model's: a folder with `text_encoder` and `text_encoder_2`, or with
    /// `clip_l.safetensors` and `clip_g.safetensors`, or a checkpoint with SGM's names.
    pub text_encoders: Option<PathBuf>,
    /// A folder with an `AutoencoderTiny` or with TAESD's original files. `None`: `taesd` in the model's folder.
    pub taesd: Option<PathBuf>,
    /// A refiner for the last steps of requests that name them: a folder or a file as `model`.
    pub refiner: Option<PathBuf>,
    /// The device of the tensors.
    pub device: Device,
    /// The dtype of the models. Samplers are always f32, and the VAE is f32 if it has `force_upcast`.
    pub dtype: DType,
    /// Which weight files to read if a component has float32 and float16 files.
    pub precision: Precision,
    /// The generator of the noise, unless a request names one.
    pub generator: GeneratorKind,
    /// The largest width times height of a request, in pixels.
    pub max_pixels: u64,
    /// Record steps as CUDA graphs: see [`crate::sdxl::unet::Unet::recorded`].
    pub cuda_graph: bool,
    /// Whether to need less device memory, for more time and slightly other pictures: the text encoders rest in host
    /// memory between prompts, and the VAE works in tiles.
    pub low_memory: bool,
    /// The most ControlNets that stay loaded after their jobs.
    pub controlnets_kept: usize,
}

impl LoadOptions {
    /// A model on the CPU in float32, with defaults for all other options.
    pub fn cpu(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            config: None,
            vae: None,
            text_encoders: None,
            taesd: None,
            refiner: None,
            device: Device::Cpu,
            dtype: DType::F32,
            precision: Precision::Full,
            generator: GeneratorKind::Cuda,
            max_pixels: 2048 * 1024,
            cuda_graph: false,
            low_memory: false,
            controlnets_kept: 3,
        }
    }
}
