//! Every form of a LoRA gives the weights that its own library computes, and every naming gives the same picture.

#![expect(clippy::expect_used, clippy::panic, reason = "in a test that is how a failure looks")]

#[path = "../support/close.rs"]
mod close;
mod embeddings;
#[path = "../support/pipeline.rs"]
mod fixture;
mod names;
#[path = "../support/numbers.rs"]
mod numbers;
mod parts;
mod refused;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tensors.rs"]
mod tensors;
mod weights;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use glimpse_worker::pipeline::{Inputs, LoraChoice, Pipeline, PipelineError, SdxlPipeline};
use support::parity;
use tempfile::TempDir;
use tensors::{Tensors, load};

pub(crate) fn with(path: &Path, scale: f64) -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 1;
    inputs.loras = vec![LoraChoice::file(path, scale)];
    inputs
}

pub(crate) fn latents(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<f32> {
    let mut denoising = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    pipeline.step(&mut [&mut denoising]).expect("steps");
    denoising.latents().flatten_all().and_then(|t| t.to_vec1()).expect("numbers")
}

pub(crate) fn refusal(pipeline: &SdxlPipeline, path: &Path) -> String {
    match pipeline.begin(&with(path, 1.0)) {
        Err(PipelineError::BadRequest { field: "loras", message }) => message,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn saved(all: &Tensors) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lora.safetensors");
    candle_core::safetensors::save(all, &path).expect("saved");
    (folder, path)
}

pub(crate) fn peft() -> Tensors {
    load(parity().join("variants/peft.safetensors"))
}

pub(crate) fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("zeros")
}

pub(crate) fn renamed(all: &Tensors, rename: impl Fn(&str) -> String) -> (TempDir, PathBuf) {
    let others: Tensors = all.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect();
    assert_eq!(others.len(), all.len(), "two names are the same");
    saved(&others)
}
