//! `--low-memory`: the text encoders and the weights that LoRAs replace are in host memory when they are not needed, and
//! the autoencoder works in tiles. On the CPU nothing moves, but the same code runs.

#[cfg(test)]
mod support;

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use clap::Parser;
use glimpse_worker::config::ModelConfig;
use glimpse_worker::pipeline::{Inputs, LoraChoice, Pipeline, Rgb, SdxlDenoising, SdxlPipeline};
use support::parity;

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    model: ModelConfig,
}

/// The fixtures' pipeline, with more flags.
#[cfg(test)]
fn pipeline(flags: &[&str]) -> SdxlPipeline {
    let (model, taesd) = (parity().join("model"), parity().join("taesdxl"));
    let taesd = taesd.display().to_string();
    let given = [&["x", "--device", "cpu", "--taesd", &taesd], flags].concat();
    let Flags { model: config } = Flags::try_parse_from(given).unwrap_or_else(|e| panic!("{e}"));
    config.load(&model).unwrap_or_else(|e| panic!("{e}"))
}

#[cfg(test)]
fn lora(name: &str) -> PathBuf {
    parity().join("variants").join(name)
}

#[cfg(test)]
fn fox(loras: &[(&Path, f64)]) -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 2;
    inputs.loras = loras.iter().map(|(path, scale)| LoraChoice::file(*path, *scale)).collect();
    inputs
}

#[cfg(test)]
fn finished(pipeline: &SdxlPipeline, inputs: &Inputs) -> SdxlDenoising {
    let mut job = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    while !pipeline.progress(&job).is_done() {
        pipeline.step(&mut [&mut job]).unwrap_or_else(|e| panic!("{e}"));
    }
    job
}

#[cfg(test)]
fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("numbers")
}

#[test]
fn pictures_are_the_same_to_the_bit_with_and_without_loras() {
    let (roomy, small) = (pipeline(&[]), pipeline(&["--low-memory"]));
    let (kohya, peft) = (lora("kohya_sgm.safetensors"), lora("peft.safetensors"));
    let wishes = [
        fox(&[]),
        fox(&[(&kohya, 1.0)]),
        fox(&[(&kohya, 0.5), (&peft, 1.0)]),
        // The checkpoint's own weights are back.
        fox(&[]),
        fox(&[(&peft, 0.7)]),
    ];
    let mut all = Vec::new();
    for (i, inputs) in wishes.iter().enumerate() {
        let [a, b] = [&roomy, &small].map(|pipeline| {
            let job = finished(pipeline, inputs);
            (numbers(&job.prompt().embeds), pipeline.finish(job).expect("pictures"))
        });
        assert!(a == b, "job {i}");
        all.push(a);
    }
    assert!(all[0] == all[3] && (1..5).all(|i| i == 3 || all[i] != all[0]), "the LoRAs have an effect");

    // Two jobs with other LoRAs by turns.
    let mut jobs = [0, 1].map(|i| small.begin(&wishes[i]).expect("begins"));
    for _ in 0..2 {
        small.step(&mut jobs.each_mut()).expect("steps");
    }
    for (i, job) in jobs.into_iter().enumerate() {
        assert!(small.finish(job).expect("pictures") == all[i].1, "job {i}");
    }
}

#[test]
fn only_pictures_larger_than_a_tile_are_made_in_tiles() {
    let (roomy, small) = (pipeline(&[]), pipeline(&["--low-memory"]));
    let mut inputs = Inputs::new("a fox", 272, 40);
    inputs.num_inference_steps = 1;
    let [whole, tiled] = [&roomy, &small].map(|pipeline| finished(pipeline, &inputs));
    assert!(numbers(whole.latents()) == numbers(tiled.latents()), "the steps are the same");
    let [whole, tiled] =
        [roomy.finish(whole), small.finish(tiled)].map(|pictures| pictures.expect("pictures"));
    assert!(whole[0] != tiled[0] && (tiled[0].width, tiled[0].height) == (272, 40));

    let picture = |width: u32| {
        let data = (0..width * 40 * 3).map(|i| (i * 37 % 251) as u8).collect();
        Rgb { width, height: 40, data }
    };
    for (width, same) in [(256, true), (272, false)] {
        let mut inputs = Inputs { width, image: Some(picture(width)), strength: 1.0, ..inputs.clone() };
        inputs.num_inference_steps = 1;
        let [whole, tiled] = [&roomy, &small].map(|pipeline| {
            let job = pipeline.begin(&inputs).expect("begins");
            numbers(&job.encoded_image().expect("a picture").mean)
        });
        assert_eq!(whole == tiled, same, "an input of {width} pixels");
    }
}
