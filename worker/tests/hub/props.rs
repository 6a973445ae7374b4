//! A Hub with the demo model, and an empty cache.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use glimpse_test_support::HubServer;
use glimpse_worker::{
    hub::{self, HubError, HubOptions, ModelKind},
    pipeline::{Inputs, LoadOptions, Pipeline, SdxlPipeline},
    sdxl::Precision,
};
use tempfile::TempDir;

pub const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

pub struct Story {
    pub server: HubServer,
    pub cache: TempDir,
    pub options: HubOptions,
}

pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo")
}

impl Story {
    pub fn new() -> Self {
        Self::of("glimpse/demo", &demo())
    }

    pub fn of(id: &str, folder: &Path) -> Self {
        let (server, cache) = (HubServer::of(id, folder), tempfile::tempdir().unwrap());
        let options = HubOptions {
            tries: 2,
            pause: Duration::ZERO,
            ..HubOptions::new(server.endpoint(), cache.path())
        };
        Self { server, cache, options }
    }

    /// The demo model.
    pub fn resolve(&self) -> Result<PathBuf, HubError> {
        self.resolve_as("glimpse/demo", Precision::Full)
    }

    pub fn resolve_as(&self, id: &str, precision: Precision) -> Result<PathBuf, HubError> {
        hub::resolve(Path::new(id), ModelKind::Pipeline, precision, &self.options)
    }

    pub fn complaint(&self) -> String {
        self.resolve().unwrap_err().to_string()
    }

    /// The names below a folder of the model's cache.
    pub fn kept(&self, folder: &str) -> BTreeSet<String> {
        names(&self.cache.path().join("models--glimpse--demo").join(folder))
    }
}

/// All files below a folder.
pub fn names(folder: &Path) -> BTreeSet<String> {
    let (mut names, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for path in std::fs::read_dir(next).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                names.insert(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    names
}

/// A picture of the model in a folder.
pub fn picture(model: &Path, taesd: Option<PathBuf>) -> Vec<u8> {
    let options = LoadOptions { taesd, ..LoadOptions::cpu(model) };
    let pipeline = SdxlPipeline::load(options).unwrap_or_else(|error| panic!("{error}"));
    let mut inputs = Inputs::new("a red heart on a white background", 64, 64);
    inputs.num_inference_steps = 2;
    let mut denoising = pipeline.begin(&inputs).unwrap();
    for _ in 0..2 {
        pipeline.step(&mut [&mut denoising]).unwrap();
    }
    pipeline.finish(denoising).unwrap().remove(0).data
}
