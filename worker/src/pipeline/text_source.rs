//! The files of the text encoders, where `--text-encoders` names others than the model's.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::{DType, Device};

use crate::sdxl::clip::ClipConfig;
use crate::sdxl::{ConfigFiles, LoadError, Naming, Precision, Shards, WeightFiles, not_a_file, sgm};

/// The folders of the text encoders.
pub(super) const TEXT_ENCODERS: [&str; 2] = ["text_encoder", "text_encoder_2"];
/// The files of the text encoders that have no folders and no configurations, as ComfyUI names them.
const FILES: [&str; 2] = ["clip_l.safetensors", "clip_g.safetensors"];

/// Both text encoders.
#[derive(Clone)]
pub(super) enum TextSource {
    /// A folder with the folders of [`TEXT_ENCODERS`].
    Folder(PathBuf),
    /// A checkpoint with SGM's names.
    Checkpoint(Rc<Shards>),
    /// A file for each, with transformers' names.
    Files([Rc<Shards>; 2]),
}

impl TextSource {
    /// Opens what `--text-encoders` names.
    ///
    /// # Errors
    /// If it has no text encoders of SDXL, or a file is damaged.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let malformed = |message: &str| LoadError::Malformed { path: path.into(), message: message.into() };
        if path.is_file() {
            let shards = Rc::new(Shards::open(path)?);
            return match shards.has_text_encoders() {
                true => Ok(Self::Checkpoint(shards)),
                false => Err(malformed(
                    "does not have both text encoders of SDXL (conditioner.embedders.0.transformer and \
                     conditioner.embedders.1.model): name a checkpoint of SDXL, or a folder with clip_l.safetensors \
                     and clip_g.safetensors",
                )),
            };
        }
        if !path.is_dir() {
            return Err(not_a_file(path, "a folder or a file with text encoders, as --text-encoders needs"));
        }
        if FILES.iter().any(|name| path.join(name).is_file()) {
            let open = |name| Shards::open(&path.join(name)).map(Rc::new);
            return Ok(Self::Files([open(FILES[0])?, open(FILES[1])?]));
        }
        match TEXT_ENCODERS.iter().all(|name| path.join(name).is_dir()) {
            true => Ok(Self::Folder(path.into())),
            false => Err(malformed(
                "has no text encoders: neither folders text_encoder and text_encoder_2 nor files clip_l.safetensors \
                 and clip_g.safetensors",
            )),
        }
    }

    /// The configuration of an encoder, 0 or 1, beside its weights. `None` where the files have none.
    pub(super) fn config(&self, index: usize) -> Option<ConfigFiles> {
        let Self::Folder(folder) = self else { return None };
        let folder = folder.join(TEXT_ENCODERS[index]);
        folder.join("config.json").is_file().then_some(ConfigFiles::Folder(folder))
    }

    /// The weights of an encoder, 0 or 1.
    pub(super) fn weights(
        &self,
        index: usize,
        config: &ClipConfig,
        precision: Precision,
        dtype: DType,
        device: &Device,
    ) -> Result<Rc<WeightFiles>, LoadError> {
        let (shards, naming) = match self {
            Self::Folder(folder) => {
                return WeightFiles::open(
                    &folder.join(TEXT_ENCODERS[index]),
                    "model",
                    precision,
                    dtype,
                    device,
                );
            }
            Self::Checkpoint(shards) if index == 0 => (shards, sgm::text_encoder()),
            Self::Checkpoint(shards) => (shards, sgm::text_encoder_2(config, shards)),
            Self::Files(files) => (&files[index], Naming::diffusers()),
        };
        Ok(WeightFiles::new(shards.clone(), naming, dtype, device))
    }
}
