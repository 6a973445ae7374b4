//! The location of a checkpoint, and how to load it.

use std::path::PathBuf;

use candle_core::{DType, Device};

use crate::noise::GeneratorKind;
use crate::sdxl::Precision;

/// What to load, and onto which device.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A folder in the diffusers layout, or a `.safetensors` file with SGM's names.
    pub model: PathBuf,
    /// A folder in the diffusers layout whose JSON files and tokenizers to use; the model's own if `None`, and
    /// for a file those of SDXL base 1.0.
    pub config: Option<PathBuf>,
    /// Another autoencoder than the model's: a folder with `config.json`, or a `.safetensors` file.
    pub vae: Option<PathBuf>,
    /// The folder of an `AutoencoderTiny` or of TAESD's own files; `taesd` in the model's folder if `None`.
    pub taesd: Option<PathBuf>,
    /// Where the tensors live.
    pub device: Device,
    /// The type the models compute in; samplers are f32 always, the autoencoder if it asks for it.
    pub dtype: DType,
    /// Which files to read if a component has both.
    pub precision: Precision,
    /// How seeds become noise, unless a request says it.
    pub generator: GeneratorKind,
    /// The largest picture that requests may ask for.
    pub max_pixels: u64,
}

impl LoadOptions {
    /// A model on the CPU in float32, with defaults for everything else.
    pub fn cpu(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            config: None,
            vae: None,
            taesd: None,
            device: Device::Cpu,
            dtype: DType::F32,
            precision: Precision::Full,
            generator: GeneratorKind::Cuda,
            max_pixels: 2048 * 1024,
        }
    }
}
