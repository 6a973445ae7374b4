//! Jobs in parts: inpainting models with nine channels, `denoising_end` and `denoising_start`, the refiner,
//! `padding_mask_crop` and a second pass.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use glimpse_worker::pipeline::{
    EmbeddingChoice, Inputs, LoadOptions, Pipeline, PipelineError, PipelineWarning, Rgb, SdxlPipeline,
};
use glimpse_worker::sdxl::unet::UnetConfig;
use glimpse_worker::sdxl::{ConfigFiles, Precision, sgm};

use super::golden::check;
use super::parts::{nine, refiner, with_taesd};
use super::support::parity;

#[cfg(test)]
fn model() -> LoadOptions {
    with_taesd(&parity().join("model"))
}

macro_rules! parts {
    ($options:ident: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $options(stringify!($name), DType::F32);
        })*
    };
}

#[cfg(test)]
fn own(name: &str, dtype: DType) {
    check(&parity().join("parts"), name, LoadOptions { dtype, ..model() });
}

#[cfg(test)]
fn inpainting(name: &str, dtype: DType) {
    let folder = nine();
    check(&parity().join("parts"), name, LoadOptions { dtype, ..with_taesd(folder.path()) });
}

#[cfg(test)]
fn refined(name: &str, dtype: DType) {
    let folder = refiner();
    let refiner = Some(folder.path().to_owned());
    check(&parity().join("parts"), name, LoadOptions { dtype, refiner, ..model() });
}

parts! { inpainting:
    nine_s1
    nine_s06_batch2
    nine_eulera_nocfg
    nine_lora
    crop_nine
}

parts! { own:
    end_euler
    end_heun
    end_img2img
    start_dpmpp
    start_heun
    start_eulera_picture
    img2img_latents
    img2img_microcond
    crop_euler
    hires_euler
    hires_eulera_batch2
}

parts! { refined:
    refiner_euler_nullneg
    refiner_eulera_scores
    refiner_heun_nocfg
    refiner_dpmpp
    refiner_embedding
}

/// A refiner as the model itself.
#[test]
fn refiner_alone() {
    let folder = refiner();
    check(&parity().join("parts"), "refiner_alone", with_taesd(folder.path()));
}

#[test]
fn half_precision_of_parts_is_as_exact_as_that_of_whole_jobs() {
    inpainting("nine_s1", DType::F16);
    refined("refiner_dpmpp", DType::F16);
    own("end_euler", DType::F16);
}

/// The pictures of a request that starts from a picture and has a mask.
#[cfg(test)]
fn pictures(options: LoadOptions) -> Vec<Rgb> {
    let pipeline = SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let picture = |value: fn(usize) -> u8| {
        Some(Rgb { width: 32, height: 40, data: (0..3 * 32 * 40).map(value).collect() })
    };
    let mut inputs = Inputs::new("a fox", 32, 40);
    (inputs.num_inference_steps, inputs.strength) = (3, 0.9);
    inputs.image = picture(|i| (i * 7 % 251) as u8);
    inputs.mask = picture(|i| if i < 1800 { 255 } else { 0 });
    let mut job = pipeline.begin(&inputs).unwrap_or_else(|e| panic!("{e}"));
    while !pipeline.progress(&job).is_done() {
        pipeline.step(&mut [&mut job]).expect("steps");
    }
    pipeline.finish(job).expect("pictures")
}

/// The same weights in single files with SGM's names, whose configuration may be that of another UNet.
#[test]
fn single_files_are_an_inpainting_model_and_a_refiner() {
    let (nine, refiner) = (nine(), refiner());
    let load = |path: &Path| candle_core::safetensors::load(path, &Device::Cpu).expect("tensors");
    let base = load(&parity().join("variants/model.safetensors"));
    let half = |folder: &Path| LoadOptions { precision: Precision::Half, ..with_taesd(folder) };
    let single = |all: &HashMap<String, Tensor>, config: &Path| {
        let file = tempfile::NamedTempFile::with_suffix(".safetensors").expect("a file");
        candle_core::safetensors::save(all, file.path()).expect("saved");
        pictures(LoadOptions { config: Some(config.to_owned()), ..with_taesd(file.path()) })
    };
    let mut all = base.clone();
    let unet = load(&nine.path().join("unet/diffusion_pytorch_model.fp16.safetensors"));
    all.insert(sgm::CONV_IN.to_owned(), unet["conv_in.weight"].clone());
    assert!(single(&all, &parity().join("model")) == pictures(half(nine.path())));

    let settings = ConfigFiles::Folder(refiner.path().join("unet")).settings("config.json", "a test");
    let config = UnetConfig::read(&settings.expect("settings")).expect("a UNet");
    let names = sgm::unet_modules(&config);
    let unet = load(&refiner.path().join("unet/diffusion_pytorch_model.safetensors"));
    let unet = unet.iter().map(|(name, tensor)| {
        let name = sgm::rename(&names, name).unwrap_or_else(|| name.clone());
        (format!("model.diffusion_model.{name}"), tensor.clone())
    });
    let encoder = |name: &str| {
        Some(format!("conditioner.embedders.0.{}", name.strip_prefix("conditioner.embedders.1.")?))
    };
    let encoders = base.iter().filter_map(|(name, tensor)| Some((encoder(name)?, tensor.clone())));
    let vae = base.iter().filter(|(name, _)| name.starts_with("first_stage_model."));
    let all = unet.chain(encoders).chain(vae.map(|(name, tensor)| (name.clone(), tensor.clone()))).collect();
    assert!(single(&all, refiner.path()) == pictures(half(refiner.path())));
}

#[test]
fn a_request_that_a_model_cannot_take_is_refused_by_name() {
    let refused = |pipeline: &SdxlPipeline, inputs: &Inputs| match pipeline.begin(inputs) {
        Err(PipelineError::BadRequest { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let (nine, refiner) = (nine(), refiner());
    let mut inputs = Inputs::new("a fox", 32, 40);
    inputs.num_inference_steps = 4;
    let inpainting = SdxlPipeline::load(with_taesd(nine.path())).unwrap_or_else(|e| panic!("{e}"));
    inpainting.warm().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(refused(&inpainting, &inputs), "mask");
    let alone = SdxlPipeline::load(with_taesd(refiner.path())).unwrap_or_else(|e| panic!("{e}"));
    alone.warm().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(refused(&alone, &inputs), "image");
    let both = LoadOptions { refiner: Some(refiner.path().to_owned()), ..model() };
    let both = SdxlPipeline::load(both).unwrap_or_else(|e| panic!("{e}"));
    both.warm().unwrap_or_else(|e| panic!("{e}"));
    assert!(both.describe().refines);
    for share in [0.01, 0.9999] {
        let inputs = Inputs { refined: true, denoising_end: Some(share), ..inputs.clone() };
        assert_eq!(refused(&both, &inputs), "denoising_end", "{share}");
    }
    let without = SdxlPipeline::load(model()).unwrap_or_else(|e| panic!("{e}"));
    let refined = Inputs { refined: true, denoising_end: Some(0.7), ..inputs };
    assert_eq!(refused(&without, &refined), "denoising_end");
}

#[test]
fn parts_that_no_model_of_the_job_reads_are_warned_of() {
    let folder = refiner();
    let load = |options| SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let warnings = |pipeline: &SdxlPipeline, inputs: &Inputs| {
        pipeline.warnings(&pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}")))
    };
    let mut inputs = Inputs { num_inference_steps: 4, ..Inputs::new("a fox", 32, 32) };
    let refined = load(LoadOptions { refiner: Some(folder.path().to_owned()), ..model() });
    assert!(warnings(&refined, &inputs).is_empty());
    inputs.negative_aesthetic_score = Some(2.5);
    assert_eq!(warnings(&refined, &inputs), [PipelineWarning::ScoresIgnored { has_refiner: true }]);
    (inputs.denoising_end, inputs.refined) = (Some(0.5), true);
    assert!(warnings(&refined, &inputs).is_empty());
    (inputs.denoising_end, inputs.refined) = (None, false);
    assert_eq!(warnings(&load(model()), &inputs), [PipelineWarning::ScoresIgnored { has_refiner: false }]);

    // The refiner alone has only the second text encoder.
    let alone = load(with_taesd(folder.path()));
    inputs.image = Some(Rgb { width: 32, height: 32, data: vec![128; 3 * 32 * 32] });
    assert!(warnings(&alone, &inputs).is_empty());
    let early = Inputs { denoising_end: Some(0.1), ..inputs.clone() };
    let error = alone.begin(&early).expect_err("no step is left").to_string();
    assert!(error.starts_with("denoising_end: ") && error.contains("strength 0.3"), "{error}");
    let vectors = Tensor::ones(&[1, 16], DType::F32, &Device::Cpu).expect("a tensor");
    let file = folder.path().join("fox.safetensors");
    candle_core::safetensors::save(&HashMap::from([("clip_l", vectors)]), &file).expect("saved");
    inputs.embeddings = vec![EmbeddingChoice::file(&file)];
    let name = "fox.safetensors".to_owned();
    let ignored = PipelineWarning::EmbeddingIgnored { name, tokens: vec!["fox".to_owned()], fits: false };
    assert_eq!(warnings(&alone, &inputs), [ignored]);
}
