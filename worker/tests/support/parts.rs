//! Models of jobs in parts: an inpainting model with nine channels, and a refiner, made of the fixtures' checkpoint and
//! of `parity/parts`.

use std::path::Path;

use candle_core::{DType, Device};
use glimpse_worker::pipeline::LoadOptions;
use tempfile::TempDir;

use super::folders::copy;
use super::support::parity;

/// The fixtures' checkpoint with a UNet for inpainting, in float32 and float16.
pub(crate) fn nine() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&parity().join("model"), folder.path(), &|_| true);
    let load = |path: &Path| candle_core::safetensors::load(path, &Device::Cpu).expect("tensors");
    let conv_in = load(&parity().join("parts/inpaint.safetensors"));
    for (kind, dtype) in [("", DType::F32), (".fp16", DType::F16)] {
        let file = folder.path().join(format!("unet/diffusion_pytorch_model{kind}.safetensors"));
        let mut all = load(&file);
        all.extend(
            conv_in.iter().map(|(name, tensor)| (name.clone(), tensor.to_dtype(dtype).expect("numbers"))),
        );
        candle_core::safetensors::save(&all, &file).expect("saved");
    }
    let config = folder.path().join("unet/config.json");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let changed = text.replace("\"in_channels\": 4", "\"in_channels\": 9");
    assert!(text != changed);
    std::fs::write(config, changed).expect("written");
    folder
}

/// A refiner's folder: its own UNet, and the second text encoder, the scheduler and the autoencoder of the checkpoint.
pub(crate) fn refiner() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for part in ["text_encoder_2", "tokenizer_2", "scheduler", "vae"] {
        copy(&parity().join("model").join(part), &folder.path().join(part), &|_| true);
    }
    copy(&parity().join("parts/refiner"), folder.path(), &|_| true);
    folder
}

/// A model with the fixtures' preview decoder.
pub(crate) fn with_taesd(model: &Path) -> LoadOptions {
    LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(model) }
}
