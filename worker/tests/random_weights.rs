//! Models of random weights, which need no checkpoint.

use std::path::Path;

use candle_core::{DType, Tensor};
use glimpse_worker::pipeline::{Inputs, LoadOptions, Pipeline, PreviewKind, SdxlPipeline};
use glimpse_worker::sdxl::ConfigFiles;

#[cfg(test)]
fn parity() -> ConfigFiles {
    ConfigFiles::Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/model"))
}

#[cfg(test)]
fn random(seed: u64, dtype: DType) -> SdxlPipeline {
    let options = LoadOptions { dtype, ..LoadOptions::cpu("no such folder") };
    SdxlPipeline::random(parity(), seed, options).unwrap_or_else(|e| panic!("{e}"))
}

#[cfg(test)]
fn inputs() -> Inputs {
    Inputs { num_inference_steps: 3, ..Inputs::new("a fox", 64, 64) }
}

/// The latents after all steps.
#[cfg(test)]
fn latents(pipeline: &SdxlPipeline) -> Vec<f32> {
    let mut denoising = pipeline.begin(&inputs()).unwrap();
    while !pipeline.progress(&denoising).is_done() {
        pipeline.step(&mut [&mut denoising]).unwrap();
    }
    numbers(denoising.latents())
}

#[cfg(test)]
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
        let predicted = spread(&numbers(&denoising.noise_pred().unwrap().unwrap()));
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
fn the_modules_of_the_blocks_are_named_once() {
    let modules = random(7, DType::F32).unet_modules();
    let of = |end: &str| modules.iter().filter(|(name, _)| name.ends_with(end)).count();
    assert!(of(".attn1.to_q") > 0 && of(".attn1.to_q") == of(".attn2.to_k"));
    assert!(of(".resnets.0.conv1") > 0);
    // SGM's names are of the same modules.
    let sgm = ["input_blocks.", "middle_block.", "output_blocks."];
    assert!(!modules.iter().any(|(name, _)| sgm.iter().any(|start| name.starts_with(start))));
}

#[test]
fn the_preview_decoder_is_that_of_the_configuration_or_as_large_as_taesdxl() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    for folder in ["models/demo", "worker/tests/parity/model"] {
        let config = ConfigFiles::Folder(root.join(folder));
        let pipeline = SdxlPipeline::random(config, 1, LoadOptions::cpu("no such folder")).unwrap();
        let latents = pipeline.begin(&inputs()).unwrap().latents().clone();
        assert_eq!(pipeline.decode_preview(&latents).unwrap().dims(), [1, 3, 64, 64], "{folder}");
    }
}
