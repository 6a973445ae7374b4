//! Opens the files of a ControlNet: a folder with `config.json`, or one file.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::{DType, Device};

use super::config::{Base, ChannelOrder, ControlNetConfig, HINT_CHANNELS, Middle};
use super::net::ControlNet;
use super::{kinds, shapes};
use crate::sdxl::config_files::ConfigFiles;
use crate::sdxl::error::LoadError;
use crate::sdxl::foreign::not_a_file;
use crate::sdxl::unet::UnetConfig;
use crate::sdxl::weights::{Naming, Precision, Shards, WeightFiles};

/// diffusers' file name for the weights of its models, without the extension.
const STEM: &str = "diffusion_pytorch_model";
/// The file with the configuration.
const CONFIG: &str = "config.json";

/// A ControlNet whose weights are not read yet, and which fits the checkpoint by its configuration.
#[derive(Debug)]
pub struct OpenedControlNet {
    shards: Rc<Shards>,
    naming: Naming,
    config: ControlNetConfig,
}

impl OpenedControlNet {
    /// Opens a folder in the diffusers layout, or a file with diffusers' or SGM's names.
    ///
    /// # Errors
    /// If a file is missing or truncated, or is not a ControlNet that is supported and fits the checkpoint.
    pub fn open(path: &Path, precision: Precision, base: Base<'_>) -> Result<Self, LoadError> {
        let (shards, settings) = if path.is_dir() {
            let settings = ConfigFiles::Folder(path.into()).settings(CONFIG, "a ControlNet in a folder")?;
            // Before the weights are looked for: other models have other file names.
            let config = ControlNetConfig::read(&settings, base)?;
            (Shards::find(path, STEM, precision)?, Some(config))
        } else if path.is_file() {
            (Shards::open(path)?, None)
        } else {
            return Err(not_a_file(path, "a ControlNet, a folder or a .safetensors file"));
        };
        let wrong =
            |message: &str| LoadError::Malformed { path: shards.path().into(), message: message.to_owned() };
        if let Some(kind) = kinds::other_kind(&shards) {
            return Err(wrong(kind));
        }
        if settings.as_ref().is_some_and(|config| config.union.is_none()) && shards.has_any("task_embedding")
        {
            return Err(wrong(
                "is a union ControlNet, and its config.json does not say so: it needs \"num_control_type\" or the class \
                 ControlNetUnionModel",
            ));
        }
        let (naming, config) = match settings {
            Some(config) => (Naming::diffusers(), config),
            None => shapes::of(&shards, base)?,
        };
        Ok(Self { shards: Rc::new(shards), naming, config })
    }

    /// A ControlNet with random weights, as large as one for this UNet can be: for measurements.
    pub fn random(unet: &UnetConfig, seed: u64) -> Self {
        let config = ControlNetConfig {
            half: unet.clone(),
            middle: Middle::Whole,
            added: true,
            hint_channels: HINT_CHANNELS.to_vec(),
            order: ChannelOrder::Rgb,
            union: None,
        };
        Self { shards: Rc::new(Shards::random(seed)), naming: Naming::diffusers(), config }
    }

    /// Its configuration.
    pub fn config(&self) -> &ControlNetConfig {
        &self.config
    }

    /// The file, or the folder if there are several.
    pub fn path(&self) -> PathBuf {
        self.shards.path().into()
    }

    /// Loads the weights.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or the device fails.
    pub fn load(&self, dtype: DType, device: &Device) -> Result<ControlNet, LoadError> {
        let files = WeightFiles::new(self.shards.clone(), self.naming.clone(), dtype, device);
        ControlNet::new(&files.logged_as("a ControlNet"), &self.config, dtype)
    }
}
