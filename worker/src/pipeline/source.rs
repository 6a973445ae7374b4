//! The files of a checkpoint: a folder with one file or shards per component, or one file for all components.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::DType;

use super::component::component;
use super::marks::Marks;
use super::options::LoadOptions;
use super::text_source::{TEXT_ENCODERS, TextSource};
use crate::sdxl::clip::ClipConfig;
use crate::sdxl::taesd::{Taesd, TaesdConfig};
use crate::sdxl::unet::UnetConfig;
use crate::sdxl::vae::{self, VaeConfig};
use crate::sdxl::{ConfigFiles, LoadError, Naming, Settings, Shards, WeightFiles, not_a_file, sgm};

/// The folders of the tokenizers.
pub(super) const TOKENIZERS: [&str; 2] = ["tokenizer", "tokenizer_2"];

/// diffusers' file name for the weights of its models, without the extension.
const STEM: &str = "diffusion_pytorch_model";
/// The file with a component's configuration.
const CONFIG: &str = "config.json";
/// The decoder's file name in <https://huggingface.co/madebyollin/taesdxl>.
const ORIGINAL_TAESD: &str = "taesdxl_decoder.safetensors";
/// The name of the preview decoder in the log.
const TAESD: &str = "the preview decoder";

/// An opened checkpoint.
pub(super) struct Source<'a> {
    options: &'a LoadOptions,
    config: ConfigFiles,
    weights: WeightSource,
    text: TextSource,
    /// Whether it is the refiner beside another model, for messages.
    is_refiner: bool,
}

#[derive(Clone)]
enum WeightSource {
    Folder(PathBuf),
    File(Rc<Shards>),
}

impl<'a> Source<'a> {
    /// Opens the checkpoint of the options.
    pub(super) fn open(options: &'a LoadOptions) -> Result<Self, LoadError> {
        let model = &options.model;
        let weights = if model.is_dir() {
            WeightSource::Folder(model.clone())
        } else if model.is_file() {
            WeightSource::File(Rc::new(Shards::open(model)?))
        } else {
            return Err(not_a_file(model, "a folder in the diffusers layout or a .safetensors file"));
        };
        if let Some(folder) = options.config.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(not_a_file(folder, "a folder in the diffusers layout, as --config needs"));
        }
        let config = match (&options.config, &weights) {
            (Some(folder), _) => ConfigFiles::Folder(folder.clone()),
            (None, WeightSource::Folder(folder)) => ConfigFiles::Folder(folder.clone()),
            (None, WeightSource::File(shards)) if shards.is_refiner() => ConfigFiles::SdxlRefiner(""),
            (None, WeightSource::File(_)) => ConfigFiles::SdxlBase(""),
        };
        let text = match (&options.text_encoders, &weights) {
            (Some(path), _) => TextSource::open(path)?,
            (None, WeightSource::Folder(folder)) => TextSource::Folder(folder.clone()),
            (None, WeightSource::File(shards)) => TextSource::Checkpoint(shards.clone()),
        };
        Ok(Self { options, config, weights, text, is_refiner: false })
    }

    /// Opens the refiner of the options, as [`Source::open`].
    pub(super) fn open_refiner(options: &'a LoadOptions) -> Result<Self, LoadError> {
        Ok(Self { is_refiner: true, ..Self::open(options)? })
    }

    /// Random weights in the shape that `config` describes. The options' paths are not used.
    pub(super) fn random(options: &'a LoadOptions, config: ConfigFiles, seed: u64) -> Self {
        let shards = Rc::new(Shards::random(seed));
        let text = TextSource::Checkpoint(shards.clone());
        Self { options, config, weights: WeightSource::File(shards), text, is_refiner: false }
    }

    /// The JSON files and tokenizers.
    pub(super) fn config(&self) -> &ConfigFiles {
        &self.config
    }

    /// The marks in the UNet's files.
    ///
    /// # Errors
    /// If they are those of another model.
    pub(super) fn marks(&self) -> Result<Marks, LoadError> {
        match &self.weights {
            WeightSource::File(shards) if shards.is_random() => Ok(Marks::default()),
            WeightSource::File(shards) => {
                let marks = Marks::read(shards)?;
                match shards
                    .not_a_checkpoint(self.options.text_encoders.is_none(), self.options.vae.is_none())
                {
                    // The other flags are for the model.
                    Some(message) if self.is_refiner => {
                        let what = message.split_once(':').map_or(message, |(what, _)| what);
                        let advice = "name a whole refiner with --refiner, a file or a folder";
                        Err(malformed(shards.path(), &format!("{what}: {advice}")))
                    }
                    Some(message) => Err(malformed(shards.path(), message)),
                    None => Ok(marks),
                }
            }
            // The load of the weights reports a missing file.
            WeightSource::Folder(folder) => Shards::find(&folder.join("unet"), STEM, self.options.precision)
                .map_or_else(|_| Ok(Marks::default()), |shards| Marks::read(&shards)),
        }
    }

    /// The configuration of a text encoder, 0 or 1. A folder of `--text-encoders` has its own.
    pub(super) fn text_config(&self, index: usize) -> ConfigFiles {
        let own = self.options.text_encoders.as_ref().and_then(|_| self.text.config(index));
        own.unwrap_or_else(|| self.config.component(TEXT_ENCODERS[index]))
    }

    /// The weights of a text encoder, 0 or 1.
    pub(super) fn text_encoder(
        &self,
        index: usize,
        config: &ClipConfig,
        dtype: DType,
    ) -> Result<Rc<WeightFiles>, LoadError> {
        let LoadOptions { precision, device, .. } = self.options;
        let files = self.text.weights(index, config, *precision, dtype, device)?;
        Ok(files.logged_as(["text encoder 1", "text encoder 2"][index]))
    }

    /// The input channels of the UNet in a single file: nine for inpainting, which no configuration says.
    pub(super) fn in_channels(&self) -> Option<usize> {
        let WeightSource::File(shards) = &self.weights else { return None };
        shards.shape(sgm::CONV_IN).and_then(|shape| shape.get(1).copied())
    }

    /// Adds to an error of the weights of a component what to do: a configuration that is built in may be another one.
    pub(super) fn with_hint(&self, config: &ConfigFiles, error: LoadError) -> LoadError {
        let LoadError::Weights(mut report) = error else { return error };
        report.hint = match (config.are_built_in(), self.is_refiner) {
            (false, _) => None,
            (true, false) => Some(
                "a file alone is read as SDXL base: if it has another shape, name a folder in the diffusers layout with \
                 --config",
            ),
            (true, true) => Some(
                "a file alone is read as SDXL's refiner or base: if it has another shape, name its folder in the \
                 diffusers layout with --refiner",
            ),
        };
        LoadError::Weights(report)
    }

    /// The weights of the UNet.
    pub(super) fn unet(&self, config: &UnetConfig, dtype: DType) -> Result<Rc<WeightFiles>, LoadError> {
        let files = match &self.weights {
            WeightSource::Folder(folder) => self.folder(&folder.join("unet"), STEM, dtype)?,
            WeightSource::File(shards) => {
                WeightFiles::new(shards.clone(), sgm::unet(config, shards), dtype, &self.options.device)
            }
        };
        Ok(files.logged_as("the UNet"))
    }

    /// The files with the weights of the UNet, whose load has found them; none if they are random.
    pub(super) fn unet_files(&self) -> Vec<PathBuf> {
        match &self.weights {
            WeightSource::File(shards) => shards.files(),
            WeightSource::Folder(folder) => Shards::find(&folder.join("unet"), STEM, self.options.precision)
                .map_or_else(|_| Vec::new(), |shards| shards.files()),
        }
    }

    /// The autoencoder's configuration. A folder of `--vae` has its own.
    pub(super) fn vae_config(&self) -> Result<VaeConfig, LoadError> {
        let files = match &self.options.vae {
            Some(folder) if folder.is_dir() => {
                let folder = component_folder(folder, "vae");
                if !folder.join(CONFIG).exists() {
                    let message =
                        "is not the folder of an autoencoder: it has neither config.json nor vae/config.json";
                    return Err(malformed(&folder, message));
                }
                ConfigFiles::Folder(folder)
            }
            _ => self.config.component("vae"),
        };
        Ok(component(&files, VaeConfig::read)?.0)
    }

    /// The autoencoder's files, and its tensor names in them.
    pub(super) fn vae(&self, config: &VaeConfig) -> Result<(Rc<Shards>, Naming), LoadError> {
        let precision = self.options.precision;
        let shards = match (&self.options.vae, &self.weights) {
            (Some(path), _) if path.is_dir() => {
                Rc::new(Shards::find(&component_folder(path, "vae"), STEM, precision)?)
            }
            (Some(path), _) => {
                let shards = Shards::open(path)?;
                if !shards.has_autoencoder() {
                    let message =
                        "has no autoencoder: no tensor's name begins with first_stage_model or decoder";
                    return Err(malformed(path, message));
                }
                Rc::new(shards)
            }
            (None, WeightSource::Folder(folder)) => {
                Rc::new(Shards::find(&folder.join("vae"), STEM, precision)?)
            }
            (None, WeightSource::File(shards)) => shards.clone(),
        };
        let naming = if shards.has_any(sgm::VAE_PREFIX) {
            sgm::vae(sgm::VAE_PREFIX, config)
        } else if shards.has_any("decoder.up.") {
            sgm::vae("", config)
        } else {
            vae::naming(&shards)
        };
        Ok((shards, naming))
    }

    /// The preview decoder. That of random weights is as large as TAESDXL, unless the configuration has another.
    pub(super) fn taesd(&self) -> Result<(Taesd, Settings), LoadError> {
        let WeightSource::File(shards) = self.weights.clone() else { return taesd(self.options) };
        if !shards.is_random() {
            return taesd(self.options);
        }
        let files = self.config.component("taesd");
        let text = files.find(CONFIG)?.unwrap_or_else(|| "{}".to_owned());
        let settings = Settings::parse(&text, &files.path(CONFIG))?;
        let weights = WeightFiles::new(shards, Naming::diffusers(), self.options.dtype, &self.options.device);
        Ok((Taesd::new(&weights.logged_as(TAESD), TaesdConfig::read(&settings)?)?, settings))
    }

    fn folder(&self, folder: &Path, stem: &str, dtype: DType) -> Result<Rc<WeightFiles>, LoadError> {
        WeightFiles::open(folder, stem, self.options.precision, dtype, &self.options.device)
    }
}

/// The preview decoder, from a folder in the diffusers layout, or from TAESD's original file or its folder.
fn taesd(options: &LoadOptions) -> Result<(Taesd, Settings), LoadError> {
    let inside = options.config.as_ref().unwrap_or(&options.model).join("taesd");
    let named = options.taesd.as_ref().unwrap_or(&inside);
    if named.is_file() {
        return original_taesd(named, options);
    }
    if !named.is_dir() {
        return Err(not_a_file(named, "the preview decoder, a TAESD: see --taesd"));
    }
    let folder = component_folder(named, "taesd");
    let original = folder.join(ORIGINAL_TAESD);
    if original.is_file() && !folder.join(CONFIG).is_file() {
        return original_taesd(&original, options);
    }
    let (config, settings) = component(&ConfigFiles::Folder(folder.clone()), TaesdConfig::read)?;
    let files = WeightFiles::open(&folder, STEM, options.precision, options.dtype, &options.device)?;
    Ok((Taesd::new(&files.logged_as(TAESD), config)?, settings))
}

fn original_taesd(file: &Path, options: &LoadOptions) -> Result<(Taesd, Settings), LoadError> {
    let shards = Rc::new(Shards::open(file)?);
    if shards.has_any("decoder.layers.") {
        let message = "is the weight file of an AutoencoderTiny, which needs its config.json: name the folder of both \
                       with --taesd";
        return Err(malformed(file, message));
    }
    let config = TaesdConfig::of_original(&shards)?;
    let naming = TaesdConfig::original_naming();
    let files = WeightFiles::new(shards, naming, options.dtype, &options.device);
    Ok((Taesd::new(&files.logged_as(TAESD), config)?, Settings::parse("{}", file)?))
}

/// The folder of a component: `folder`, or the one inside of it if it is the folder of a whole model.
fn component_folder(folder: &Path, name: &str) -> PathBuf {
    let inside = folder.join(name);
    if !folder.join(CONFIG).exists() && inside.join(CONFIG).exists() { inside } else { folder.into() }
}

fn malformed(path: &Path, message: &str) -> LoadError {
    LoadError::Malformed { path: path.into(), message: message.into() }
}
