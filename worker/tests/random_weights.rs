//! Models of random weights, which need no checkpoint.

use std::path::Path;

use candle_core::{DType, Tensor};
use glimpse_worker::pipeline::{Inputs, LoadOptions, Pipeline, PreviewKind, SdxlPipeline};
use glimpse_worker::sdxl::ConfigFiles;

fn parity() -> ConfigFiles {
    ConfigFiles::Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/model"))
}

fn random(seed: u64, dtype: DType) -> SdxlPipeline {
    let options = LoadOptions { dtype, ..LoadOptions::cpu("no such folder") };
    SdxlPipeline::random(parity(), seed, options).unwrap_or_else(|e| panic!("{e}"))
}

fn inputs() -> Inputs {
    Inputs { num_inference_steps: 3, ..Inputs::new("a fox", 64, 64) }
}

/// The latents after all steps.
fn latents(pipeline: &SdxlPipeline) -> Vec<f32> {
    let mut denoising = pipeline.begin(&inputs()).unwrap();
    while !pipeline.progress(&denoising).is_done() {
        pipeline.step(&mut [&mut denoising]).unwrap();
    }
    numbers(denoising.latents())
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).unwrap()
}

#[test]
fn a_seed_gives_the_same_model_and_another_seed_another() {
    let [first, again, other] = [7, 7, 8].map(|seed| latents(&random(seed, DType::F32)));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn every_part_of_a_picture_is_finite_and_not_flat_in_half_precision() {
    let pipeline = random(7, DType::F16);
    let mut denoising = pipeline.begin(&inputs()).unwrap();
    let spread = |numbers: &[f32]| {
        assert!(numbers.iter().all(|number| number.is_finite()));
        let [low, high] = [f32::min, f32::max].map(|most| numbers.iter().copied().reduce(most).unwrap());
        high - low
    };
    while !pipeline.progress(&denoising).is_done() {
        pipeline.step(&mut [&mut denoising]).unwrap();
        // The prediction of a trained model has a standard deviation of about 1.
        let predicted = spread(&numbers(denoising.noise_pred().unwrap()));
        assert!((0.5..100.0).contains(&predicted), "{predicted}");
    }
    assert!(spread(&numbers(&denoising.prompt().embeds.to_dtype(DType::F32).unwrap())) > 0.5);
    let preview = pipeline.preview(&denoising, PreviewKind::Denoised).unwrap();
    let pictures = pipeline.finish(denoising).unwrap();
    for picture in pictures.iter().chain([&preview]) {
        assert_eq!((picture.width, picture.height), (64, 64));
        assert!(picture.data.iter().any(|byte| *byte != picture.data[0]), "the picture is flat");
    }
}

#[test]
fn tensors_of_different_names_differ() {
    // Equal queries and keys would be a model that attends to itself alone.
    let pipeline = random(7, DType::F32);
    let modules = pipeline.unet_modules();
    let of = |end: &str| modules.iter().filter(|(name, _)| name.ends_with(end)).count();
    assert!(of(".attn1.to_q") > 0 && of(".attn1.to_q") == of(".attn1.to_k"));
    let shapes = modules.iter().map(|(_, shape)| shape.len()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(shapes.into_iter().collect::<Vec<_>>(), [2, 4], "matrices and convolutions");
    assert!(modules.iter().all(|(name, _)| !name.starts_with("input_blocks")));
}
