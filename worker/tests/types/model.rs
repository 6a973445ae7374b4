//! A copy of the fixtures' model with changed files.

use std::{fs, path::Path};

use candle_core::Tensor;
use glimpse_worker::pipeline::{Inputs, LoadOptions, Pipeline, SdxlPipeline};
use tempfile::TempDir;

use crate::{
    files::{Tensors, read, write},
    support::parity,
};

/// A copy of the fixtures' model: links to its files, except those that a test changes.
pub struct ModelCopy(pub TempDir);

impl ModelCopy {
    pub fn new() -> Self {
        fn link(from: &Path, to: &Path) {
            fs::create_dir_all(to).expect("a folder");
            for entry in fs::read_dir(from).expect("a folder").flatten() {
                let (path, to) = (entry.path(), to.join(entry.file_name()));
                if path.is_dir() {
                    link(&path, &to);
                } else if !path.to_string_lossy().contains(".fp16.") {
                    std::os::unix::fs::symlink(&path, to).expect("linked");
                }
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        link(&parity().join("model"), folder.path());
        link(&parity().join("taesdxl"), &folder.path().join("taesd"));
        Self(folder)
    }

    pub fn change(&self, file: &str, change: impl FnOnce(&mut Tensors)) -> &Self {
        let path = self.0.path().join(file);
        let mut all = read(&path);
        change(&mut all);
        fs::remove_file(&path).expect("removed");
        write(&path, &all);
        self
    }

    pub fn load(&self) -> Result<SdxlPipeline, String> {
        SdxlPipeline::load(LoadOptions::cpu(self.0.path())).map_err(|error| error.to_string())
    }

    pub fn picture(&self) -> Vec<f32> {
        latents(&self.load().unwrap_or_else(|e| panic!("{e}")), &inputs())
    }

    pub fn load_error(&self) -> String {
        self.load().expect_err("refused")
    }
}

pub fn inputs() -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 2;
    inputs
}

/// The final latents of a job, their picture and their preview.
pub fn latents(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<f32> {
    let mut denoising = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    for _ in 0..2 {
        pipeline.step(&mut [&mut denoising]).expect("steps");
    }
    let latents = denoising.latents();
    let (picture, preview) = (pipeline.decode(latents), pipeline.decode_preview(latents));
    let numbers = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("numbers");
    [numbers(latents), numbers(&picture.expect("decodes")), numbers(&preview.expect("decodes"))].concat()
}

/// File and name of one bias of each component.
pub const BIASES: [(&str, &str); 5] = [
    ("text_encoder/model.safetensors", "text_model.final_layer_norm.bias"),
    ("text_encoder_2/model.safetensors", "text_model.final_layer_norm.bias"),
    ("unet/diffusion_pytorch_model.safetensors", "conv_in.bias"),
    ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.bias"),
    ("taesd/diffusion_pytorch_model.safetensors", "decoder.layers.0.bias"),
];
