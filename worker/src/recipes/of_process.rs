//! What the recipes of one process have in common.

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use glimpse_shared::{
    id::App,
    recipe::{LoraRecipe, ModelRecipe, Recipe},
    request::{ImageSpec, InputPictures},
};

use super::digests::{Digests, FileDigest};
use crate::{hub::HubId, pipeline::Identity};

/// A model of at most so many bytes is read before the worker is ready: in less than a second.
const SMALL_MODEL: u64 = 64 << 20;
/// A LoRA of at most so many bytes is read before its job begins: in some milliseconds.
const SMALL_LORA: u64 = 1 << 20;

/// Whether pictures carry their recipes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct MetadataConfig {
    /// Writes no recipe (prompt, seed, sampler, model and LoRAs) into the pictures. A request can say this for its own
    /// pictures: `"metadata": false`.
    #[arg(long, env = "GLIMPSE_NO_METADATA", value_parser = FalseyValueParser::new())]
    pub no_metadata: bool,
}

/// A LoRA of a job and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoraFile {
    /// As in the request, without secrets.
    pub path: String,
    /// The file.
    pub file: PathBuf,
}

/// What all recipes of this process say, and the digests of its files.
#[derive(Debug)]
pub struct Recipes {
    app: Option<App>,
    name: String,
    identity: Identity,
    digests: Digests,
    pub(super) writes: bool,
}

impl Recipes {
    /// The recipes of pictures of a loaded model. `app`: under which a fleet serves it; `named`: as it was given, a path
    /// or a name on the Hub. Begins to compute the model's digest; for a small model it waits.
    pub fn new(app: Option<App>, named: &Path, identity: Identity, config: &MetadataConfig) -> Self {
        let digests = Digests::default();
        digests.begin_or_wait(&identity.files, SMALL_MODEL);
        Self { app, name: name_of(named), identity, digests, writes: !config.no_metadata }
    }

    /// The model, with its digest if that is known by now.
    pub fn model(&self) -> ModelRecipe {
        let sha256 = self.digests.known(&self.identity.files).map(|digest| digest.sha256);
        ModelRecipe { name: self.name.clone(), sha256 }
    }

    /// The model with its digest, which is waited for. Blocks the thread.
    pub fn waited_model(&self) -> ModelRecipe {
        let _ = self.digests.wait(&self.identity.files);
        self.model()
    }

    /// SHA-256 (hex) of a LoRA's file, which is waited for; `None` if it cannot be read. Blocks the thread.
    pub fn waited_lora(&self, file: &Path) -> Option<String> {
        Some(self.digests.wait(&[file.to_owned()])?.sha256)
    }

    /// Waits for the digests of the model and of these LoRAs. Blocks the thread.
    pub fn wait(&self, loras: &[LoraFile]) {
        let _ = self.digests.wait(&self.identity.files);
        for lora in loras {
            let _ = self.digests.wait(std::slice::from_ref(&lora.file));
        }
    }

    /// Begins to compute the digests of LoRAs.
    pub(super) fn begin(&self, loras: &[LoraFile]) {
        for lora in loras {
            self.digests.begin_or_wait(std::slice::from_ref(&lora.file), SMALL_LORA);
        }
    }

    /// The recipe of a picture: `index` says which of them it is.
    pub fn of(&self, spec: &ImageSpec, loras: &[LoraFile], index: u32) -> Recipe {
        let known = loras.iter().filter_map(|lora| {
            let FileDigest { sha256, autov3 } = self.digests.known(std::slice::from_ref(&lora.file))?;
            Some(LoraRecipe { path: lora.path.clone(), sha256, autov3 })
        });
        let mut recipe = Recipe {
            index: (spec.num_images() > 1).then_some(index),
            model: Some(self.model()),
            loras: known.collect(),
            ..Recipe::of(self.app.clone(), spec, InputPictures::Digests)
        };
        if let Some(seed) = spec.seeds().get(index as usize) {
            recipe = recipe.of_seed(*seed);
        }
        recipe.with_sampler(&self.identity.scheduler)
    }
}

/// The name of a model: its name on the Hub without the revision, or that of its file or folder.
fn name_of(named: &Path) -> String {
    let text = named.display().to_string();
    if !named.exists() && HubId::parse(named).is_some() {
        return text.split_once('@').map_or(text.clone(), |(name, _)| name.to_owned());
    }
    let real = named.canonicalize().unwrap_or_else(|_| named.to_owned());
    let name = if real.is_dir() { real.file_name() } else { real.file_stem() };
    name.map_or(text, |name| name.to_string_lossy().into_owned())
}
