//! Damaged weight files.

use glimpse_test_support::fuzz;

use crate::{
    copy::Copy,
    tensors::{Tensors, broken},
};

fn check(copy: &Copy, usual: u32, files: &[&str]) {
    let whole: Vec<_> = files.iter().map(|file| (file, Tensors::read(&copy.bytes(file)))).collect();
    fuzz::check(usual, &(0..files.len(), broken()), |(which, broken)| {
        let (file, tensors) = &whole[which];
        copy.load_with(&(file, &broken), file, &tensors.with(&broken))?;
        Ok(())
    });
}

#[test]
fn broken_weights_are_loaded_or_named() {
    fuzz::alone(|| {
        let files = [
            "text_encoder/model.safetensors",
            "text_encoder_2/model.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
            "taesd/diffusion_pytorch_model.safetensors",
        ];
        check(&Copy::folder(), 250, &files);
    });
}

#[test]
fn a_broken_single_file_is_loaded_or_named() {
    fuzz::alone(|| {
        check(&Copy::single(), 100, &["model.safetensors", "original/taesdxl_decoder.safetensors"]);
    });
}
