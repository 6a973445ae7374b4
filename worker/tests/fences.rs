//! Errors of other implementations, one test each.

#[cfg(test)]
mod support;

use candle_core::{DType, Device, Tensor};
use glimpse_worker::noise::GeneratorKind;
use glimpse_worker::pipeline::{
    HeightWidth, Inputs, LoadOptions, LoraChoice, Pipeline, Rgb, SchedulerChoice, SdxlPipeline,
};
use glimpse_worker::sdxl::ops::{self, Mask};
use support::parity;

#[cfg(test)]
fn load(dtype: DType) -> SdxlPipeline {
    let options = LoadOptions {
        taesd: Some(parity().join("taesdxl")),
        dtype,
        ..LoadOptions::cpu(parity().join("model"))
    };
    SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"))
}

#[cfg(test)]
fn fox() -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 2;
    inputs
}

#[cfg(test)]
fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("numbers")
}

#[cfg(test)]
fn latents(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<f32> {
    let mut job = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    while !pipeline.progress(&job).is_done() {
        pipeline.step(&mut [&mut job]).expect("steps");
    }
    numbers(job.latents())
}

#[cfg(test)]
fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// There is guidance only above 1. At 1 and below each step is one prediction of the UNet, not two.
#[test]
fn a_guidance_scale_of_0_or_1_is_no_guidance() {
    let pipeline = load(DType::F32);
    let at = |guidance_scale| {
        let mut job = pipeline.begin(&Inputs { guidance_scale, ..fox() }).expect("begins");
        pipeline.step(&mut [&mut job]).expect("steps");
        (job.unet_input().expect("a step").dims()[0], numbers(job.latents()))
    };
    let (none, one, above) = (at(0.0), at(1.0), at(1.00001));
    assert_eq!((none.0, one.0, above.0), (1, 1, 2));
    assert!(none == one);
    let apart = largest_difference(&above.1, &one.1);
    assert!(0.0 < apart && apart < 1e-3, "{apart}");
}

#[test]
fn a_missing_negative_prompt_differs_from_an_empty_one() {
    let pipeline = load(DType::F32);
    let with = |prompt: &str, negative: Option<&str>| {
        let negative_prompt = negative.map(str::to_owned);
        latents(&pipeline, &Inputs { prompt: prompt.into(), negative_prompt, ..fox() })
    };
    let pictures = [
        with("", None),
        with("", Some("")),
        with("", Some("a fox")),
        with("a fox", None),
        with("a fox", Some("")),
    ];
    for (i, a) in pictures.iter().enumerate() {
        assert!(a.iter().all(|v| v.is_finite()));
        for b in &pictures[..i] {
            assert!(a != b, "prompt {i} does not matter");
        }
    }
}

#[test]
fn the_end_token_survives_truncation() {
    let pipeline = load(DType::F32);
    let prompt = "fox ".repeat(300);
    let job = pipeline
        .begin(&Inputs { prompt: prompt.clone(), negative_prompt: Some(prompt), ..fox() })
        .expect("begins");
    let encoded = [Some(job.prompt()), job.negative_prompt()];
    for ids in encoded.into_iter().flatten().flat_map(|e| e.input_ids.iter().flatten()) {
        assert_eq!(ids.len(), 77);
        let end = ids.iter().max().expect("ids");
        assert_eq!(ids.iter().position(|id| id == end), Some(76), "{ids:?}");
    }
    // The text after the truncation has no effect, the text before it has one.
    let long = |end: &str| latents(&pipeline, &Inputs { prompt: "fox ".repeat(74) + end, ..fox() });
    assert!(long("fox bird") == long("fox tower"));
    assert!(long("bird") != long("tower"));
}

/// No cache between jobs may ignore an input.
#[test]
fn every_input_has_an_effect_on_its_own_job_only() {
    type InputChange = fn(&mut Inputs);
    let changes: [(&str, InputChange); 21] = [
        ("prompt", |i| i.prompt = "a bird".into()),
        ("prompt_2", |i| i.prompt_2 = Some("a bird".into())),
        ("negative_prompt", |i| i.negative_prompt = Some("a bird".into())),
        ("negative_prompt_2", |i| i.negative_prompt_2 = Some("a bird".into())),
        ("num_inference_steps", |i| i.num_inference_steps = 3),
        ("guidance_scale", |i| i.guidance_scale = 6.0),
        ("guidance_rescale", |i| i.guidance_rescale = 0.5),
        ("seed", |i| i.seed = 1),
        ("generator", |i| i.generator = Some(GeneratorKind::Cpu)),
        ("clip_skip", |i| i.clip_skip = Some(1)),
        ("original_size", |i| i.original_size = Some(HeightWidth { height: 16, width: 32 })),
        ("crops_coords_top_left", |i| i.crops_coords_top_left = HeightWidth { height: 0, width: 8 }),
        ("target_size", |i| i.target_size = Some(HeightWidth { height: 32, width: 64 })),
        ("negative sizes", |i| {
            i.negative_original_size = Some(HeightWidth { height: 8, width: 8 });
            i.negative_target_size = Some(HeightWidth { height: 8, width: 8 });
        }),
        ("negative_crops_coords_top_left", |i| {
            i.negative_original_size = Some(HeightWidth { height: 32, width: 32 });
            i.negative_target_size = Some(HeightWidth { height: 32, width: 32 });
            i.negative_crops_coords_top_left = HeightWidth { height: 9, width: 0 };
        }),
        ("scheduler", |i| {
            let name = Some("DDIMScheduler".into());
            i.scheduler = Some(SchedulerChoice { name, changes: Default::default() });
        }),
        ("scheduler's settings", |i| {
            let changes = [("use_karras_sigmas".to_owned(), true.into())].into_iter().collect();
            i.scheduler = Some(SchedulerChoice { name: None, changes });
        }),
        ("loras", |i| {
            let path = parity().join("variants/peft.safetensors");
            i.loras = vec![LoraChoice::file(path, 1.0)];
        }),
        ("a lora's scale", |i| {
            let path = parity().join("variants/peft.safetensors");
            i.loras = vec![LoraChoice::file(path, 0.5)];
        }),
        ("image", |i| {
            i.image = Some(Rgb { width: 32, height: 32, data: vec![90; 32 * 32 * 3] });
            i.strength = 1.0;
        }),
        ("mask", |i| {
            i.image = Some(Rgb { width: 32, height: 32, data: vec![90; 32 * 32 * 3] });
            i.mask = Some(Rgb { width: 32, height: 32, data: vec![0; 32 * 32 * 3] });
            i.strength = 1.0;
        }),
    ];
    let base = || Inputs { negative_prompt: Some("blurry".into()), ..fox() };
    let busy = load(DType::F32);
    let plain = latents(&busy, &base());
    let mut seen = vec![plain.clone()];
    for (name, change) in changes {
        let mut inputs = base();
        change(&mut inputs);
        let after_others = latents(&busy, &inputs);
        assert!(!seen.contains(&after_others), "{name} has no effect");
        assert!(
            latents(&load(DType::F32), &inputs) == after_others,
            "{name}: another job has an effect on this one"
        );
        assert!(latents(&busy, &base()) == plain, "{name} has an effect on the next job");
        seen.push(after_others);
    }
}

#[test]
fn large_seeds_and_seed_0_are_distinct() {
    let pipeline = load(DType::F32);
    for generator in [GeneratorKind::Cpu, GeneratorKind::Cuda] {
        let first = |seed| {
            let job = pipeline.begin(&Inputs { seed, generator: Some(generator), ..fox() }).expect("begins");
            numbers(job.latents())
        };
        let draws = [first(0), first(1), first((1 << 53) + 1), first(1 << 53)];
        assert!(first(0) == draws[0]);
        assert!(draws[0] != draws[1], "{generator:?}");
        // torch's CPU generator uses only the lower 32 bits of a seed: 2^53 equals 0, and 2^53 + 1 equals 1.
        let halved = generator == GeneratorKind::Cpu;
        assert_eq!(draws[3] == draws[0], halved, "{generator:?}");
        assert_eq!(draws[2] == draws[1], halved, "{generator:?}");
    }
}

/// The first latents of a seed do not depend on the model's dtype or on other jobs.
#[test]
fn the_first_latents_of_a_seed_are_the_same_everywhere() {
    let first = |pipeline: &SdxlPipeline, pictures, generator| {
        let inputs = Inputs { num_images_per_prompt: pictures, seed: 7, generator: Some(generator), ..fox() };
        pipeline.begin(&inputs).expect("begins").latents().clone()
    };
    let pipelines = [DType::F32, DType::F16, DType::BF16].map(load);
    for generator in [GeneratorKind::Cpu, GeneratorKind::Cuda] {
        let one = numbers(&first(&pipelines[0], 1, generator));
        let four = first(&pipelines[0], 4, generator);
        for pipeline in &pipelines[1..] {
            assert!(numbers(&first(pipeline, 1, generator)) == one, "{generator:?}");
            assert!(numbers(&first(pipeline, 4, generator)) == numbers(&four), "{generator:?}");
        }
        // A batch is one draw, and its pictures are consecutive parts of it.
        let items: Vec<_> = (0..4).map(|i| numbers(&four.narrow(0, i, 1).expect("an item"))).collect();
        assert!(items.windows(2).all(|pair| pair[0] != pair[1]), "{generator:?}");
        if generator == GeneratorKind::Cpu {
            // MT19937 draws in order: the first of four pictures equals a single picture.
            assert!(items[0] == one);
        }
    }
}

/// Four guided pictures of 2048x1024 pixels have more than 2^31 scores in one call. This test has as many in one
/// picture.
#[test]
fn attention_of_more_than_2_to_the_31_scores() -> candle_core::Result<()> {
    const TOKENS: usize = 46_400;
    const { assert!(TOKENS * TOKENS > 1 << 31) };
    const WIDTH: usize = 4;
    let wave = |phase: f32| {
        let values = (0..TOKENS * WIDTH).map(|i| ((i as f32) * 0.37 + phase).sin() * 3.0);
        Tensor::from_iter(values, &Device::Cpu)?.reshape((1, TOKENS, WIDTH))
    };
    let (q, k, v) = (wave(0.0)?, wave(1.0)?, wave(2.0)?);
    let y = ops::attention(&q, &k, &v, 1, Mask::None)?;
    let row = |x: &Tensor, i: usize| x.narrow(1, i, 1).map(|row| numbers(&row));
    let (keys, values) = (numbers(&k), numbers(&v));
    for i in [0, 1, TOKENS / 2, TOKENS - 1] {
        let query = row(&q, i)?;
        let score = |key: &[f32]| {
            key.iter().zip(&query).map(|(a, b)| f64::from(a * b)).sum::<f64>() / (WIDTH as f64).sqrt()
        };
        let weights: Vec<f64> = keys.chunks_exact(WIDTH).map(|key| score(key).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (c, got) in row(&y, i)?.iter().enumerate() {
            let weighted = weights.iter().zip(values.chunks_exact(WIDTH)).map(|(w, v)| w * f64::from(v[c]));
            let expected = weighted.sum::<f64>() / total;
            assert!((f64::from(*got) - expected).abs() < 1e-4, "row {i}: {got} and not {expected}");
        }
    }
    Ok(())
}
