//! Inputs that used all memory or caused a panic in an older version.

use std::fs;

use glimpse_test_support::fuzz;
use glimpse_worker::{
    pipeline::{Inputs, LoadOptions, Pipeline, SdxlPipeline},
    sdxl::lora::LoraFile,
};
use serde_json::{Value, json};

use crate::{
    copy::Copy,
    support::parity,
    tensors::{Entry, Tensors},
};

const HUGE: u64 = 1_000_000_000_000_000_000;

/// The error of a configuration with other values.
fn complaint(copy: &Copy, file: &str, values: &[(&str, Value)]) -> String {
    let mut config: Value = serde_json::from_slice(&copy.bytes(file)).expect("JSON");
    for (key, value) in values {
        config[key] = value.clone();
    }
    let loaded = copy.load_with(&(file, values), file, config.to_string().as_bytes());
    loaded.expect("named").expect("not what it was made for")
}

#[test]
fn sizes_that_are_too_large_are_refused_by_key() {
    fuzz::alone(|| {
        let copy = Copy::folder();
        for (file, key, value) in [
            ("unet/config.json", "block_out_channels", json!([HUGE, HUGE, HUGE])),
            ("unet/config.json", "layers_per_block", json!(HUGE)),
            ("unet/config.json", "layers_per_block", json!(0)),
            ("unet/config.json", "transformer_layers_per_block", json!(u64::MAX)),
            ("unet/config.json", "attention_head_dim", json!(0)),
            ("unet/config.json", "conv_in_kernel", json!(HUGE + 1)),
            ("unet/config.json", "sample_size", json!(u64::MAX)),
            ("unet/config.json", "time_embedding_dim", json!(u64::MAX)),
            ("unet/config.json", "addition_time_embed_dim", json!(u64::MAX)),
            ("text_encoder/config.json", "hidden_size", json!(0)),
            ("text_encoder/config.json", "num_hidden_layers", json!(HUGE)),
            ("text_encoder_2/config.json", "intermediate_size", json!(u64::MAX)),
            ("vae/config.json", "block_out_channels", json!(vec![32; 70])),
            ("vae/config.json", "layers_per_block", json!(HUGE)),
            ("vae/config.json", "latent_channels", json!(u64::MAX)),
            ("taesd/config.json", "num_decoder_blocks", json!([HUGE, 1, 1, 1])),
            ("taesd/config.json", "upsampling_scaling_factor", json!(HUGE)),
            ("scheduler/scheduler_config.json", "num_train_timesteps", json!(1_u64 << 32)),
        ] {
            let complaint = complaint(&copy, file, &[(key, value.clone())]);
            assert!(complaint.contains(file) && complaint.contains(key), "{file} {key}={value}: {complaint}");
        }
    });
}

#[test]
fn a_load_ends_after_thousands_of_missing_tensors() {
    fuzz::alone(|| {
        let layers = [("layers_per_block", json!(128)), ("transformer_layers_per_block", json!(128))];
        let complaint = complaint(&Copy::folder(), "unet/config.json", &layers);
        // More than a million are missing; the load ends after 4096 of them.
        assert!(complaint.contains("and 4088 more missing"), "{complaint}");
    });
}

#[test]
fn numbers_of_an_unsupported_dtype_are_named() {
    fuzz::alone(|| {
        let (copy, file) = (Copy::folder(), "vae/diffusion_pytorch_model.safetensors");
        let weights = Tensors::read(&copy.bytes(file));
        let bytes = weights.changed("decoder.conv_in.bias", |bias| bias.retype("F8_E8M0", 8));
        let complaint = copy.load_with(&"exponents", file, &bytes).expect("named").expect("not read");
        assert!(complaint.contains("decoder.conv_in.bias") && complaint.contains("F8_E8M0"), "{complaint}");
    });
}

#[test]
fn huge_axes_of_an_empty_tensor_are_refused() {
    fuzz::alone(|| {
        let copy = Copy::folder();
        let path = copy.path("lora.safetensors");
        let whole = fs::read(parity().join("variants/peft.safetensors")).expect("a file");
        let empty = |entry: &mut Entry| {
            entry.empty(&[4, 1 << 62]);
            entry.reshape(0);
        };
        let name = "unet.mid_block.attentions.0.proj_in.lora_A.weight";
        fs::write(&path, Tensors::read(&whole).changed(name, empty)).expect("written");
        let complaint = LoraFile::open(&path).expect_err("no LoRA").to_string();
        assert!(complaint.contains(name) && complaint.contains("cannot be of shape"), "{complaint}");

        let pipeline = SdxlPipeline::load(LoadOptions::cpu(copy.path(""))).expect("loads");
        let inputs = Inputs::new("a fox", 16, 16);
        let job = pipeline.begin(&inputs).expect("begins");
        let whole = pipeline.checkpoint(&job).expect("a checkpoint");
        let broken = Tensors::read(&whole).changed("latents", empty);
        assert!(pipeline.resume(&inputs, &broken).is_ok(), "ignored");
    });
}

#[test]
fn a_preview_decoder_with_huge_channels_is_refused() {
    fuzz::alone(|| {
        let (copy, file) = (Copy::single(), "original/taesdxl_decoder.safetensors");
        let weights = Tensors::read(&copy.bytes(file));
        let bytes = weights.changed("1.weight", |first| first.empty(&[1 << 40, 4, 3]));
        let complaint = copy.load_with(&"wide", file, &bytes).expect("named").expect("not read");
        assert!(complaint.contains("TAESD"), "{complaint}");
    });
}
