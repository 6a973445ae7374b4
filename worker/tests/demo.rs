//! The demo checkpoint draws the requested pictures.

use std::path::Path;

use glimpse_worker::pipeline::{
    Inputs, LoadOptions, Pipeline, PreviewKind, Rgb, SchedulerChoice, SdxlPipeline,
};

#[cfg(test)]
fn pipeline() -> SdxlPipeline {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
    SdxlPipeline::load(LoadOptions::cpu(model)).unwrap_or_else(|e| panic!("{e}"))
}

/// The final picture, and the preview of the denoised estimate after step `at`.
#[cfg(test)]
fn picture(prompt: &str, seed: u64, at: usize) -> (Rgb, Rgb) {
    let mut inputs = inputs(prompt);
    inputs.seed = seed;
    let (picture, preview) = draw(&pipeline(), &inputs, at);
    keep(prompt, &picture);
    (picture, preview)
}

#[cfg(test)]
fn inputs(prompt: &str) -> Inputs {
    let mut inputs = Inputs::new(prompt, 128, 128);
    inputs.negative_prompt = Some("blurry, low quality".into());
    inputs.num_inference_steps = 20;
    inputs
}

#[cfg(test)]
fn draw(pipeline: &SdxlPipeline, inputs: &Inputs, at: usize) -> (Rgb, Rgb) {
    let mut denoising = pipeline.begin(inputs).expect("begins");
    let mut preview = None;
    while !pipeline.progress(&denoising).is_done() {
        pipeline.step(&mut [&mut denoising]).expect("steps");
        if pipeline.progress(&denoising).step == at + 1 {
            preview = pipeline.preview(&denoising, PreviewKind::Denoised).ok();
        }
    }
    (pipeline.finish(denoising).expect("finishes").remove(0), preview.expect("a preview"))
}

/// Saves a picture to look at it: `DEMO_PICTURES=folder cargo test --test demo`.
#[cfg(test)]
fn keep(prompt: &str, picture: &Rgb) {
    if let Some(folder) = std::env::var_os("DEMO_PICTURES") {
        let path = Path::new(&folder).join(format!("{}.png", prompt.replace(' ', "_")));
        image::save_buffer(path, &picture.data, picture.width, picture.height, image::ColorType::Rgb8)
            .expect("saved");
    }
}

/// Mean colour of the square of side `2 * reach` around a point.
#[cfg(test)]
fn colour(picture: &Rgb, x: usize, y: usize, reach: usize) -> [f64; 3] {
    let mut sum = [0.0; 3];
    for row in y - reach..y + reach {
        for column in x - reach..x + reach {
            for (c, sum) in sum.iter_mut().enumerate() {
                *sum += f64::from(picture.data[3 * (row * picture.width as usize + column) + c]);
            }
        }
    }
    sum.map(|s| s / (4 * reach * reach) as f64)
}

/// The name of the nearest colour of the demo's training.
#[cfg(test)]
fn name(colour: [f64; 3]) -> &'static str {
    const COLOURS: [(&str, [f64; 3]); 11] = [
        ("red", [222.0, 40.0, 42.0]),
        ("orange", [246.0, 138.0, 24.0]),
        ("yellow", [250.0, 216.0, 48.0]),
        ("green", [44.0, 160.0, 66.0]),
        ("cyan", [50.0, 200.0, 212.0]),
        ("blue", [40.0, 84.0, 222.0]),
        ("purple", [132.0, 56.0, 184.0]),
        ("pink", [248.0, 140.0, 190.0]),
        ("white", [250.0, 250.0, 250.0]),
        ("black", [24.0, 24.0, 28.0]),
        ("gray", [138.0, 138.0, 142.0]),
    ];
    let distance = |other: &[f64; 3]| colour.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    COLOURS.iter().min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1))).map_or("", |c| c.0)
}

#[test]
fn shapes_and_backgrounds_have_the_requested_colours() {
    let wishes = [
        ("red", "heart", "white"),
        ("blue", "circle", "yellow"),
        ("green", "square", "white"),
        ("yellow", "star", "blue"),
        ("purple", "triangle", "white"),
        ("orange", "circle", "black"),
        ("white", "heart", "red"),
        ("black", "square", "yellow"),
        ("blue", "heart", "white"),
        ("red", "circle", "green"),
        ("pink", "square", "black"),
        ("green", "circle", "purple"),
    ];
    let article = |colour: &str| if colour.starts_with('o') { "an" } else { "a" };
    for (seed, (colour_wanted, shape, background)) in wishes.into_iter().enumerate() {
        let prompt = format!(
            "{} {colour_wanted} {shape} on {} {background} background",
            article(colour_wanted),
            article(background)
        );
        let (picture, preview) = picture(&prompt, seed as u64, 10);
        for (what, picture) in [("picture", &picture), ("preview after half the steps", &preview)] {
            assert_eq!((picture.width, picture.height), (128, 128));
            assert_eq!(name(colour(picture, 64, 64, 6)), colour_wanted, "middle of the {what} of {prompt:?}");
            for (x, y) in [(6, 6), (121, 6), (6, 121), (121, 121)] {
                assert_eq!(name(colour(picture, x, y, 5)), background, "corner of the {what} of {prompt:?}");
            }
        }
    }
}

#[test]
fn every_sampler_that_is_offered_draws_the_heart() {
    let pipeline = pipeline();
    for scheduler in pipeline.describe().schedulers {
        for steps in [20, 30] {
            let mut inputs = inputs("a red heart on a white background");
            inputs.num_inference_steps = steps;
            inputs.scheduler =
                Some(SchedulerChoice { name: Some(scheduler.clone()), changes: Default::default() });
            let (picture, _) = draw(&pipeline, &inputs, 0);
            keep(&format!("{scheduler} {steps}"), &picture);
            let case = format!("{scheduler} with {steps} steps");
            assert_eq!(name(colour(&picture, 64, 64, 6)), "red", "middle, {case}");
            // The notch between the lobes shows that it is a heart.
            for (x, y) in [(6, 6), (121, 6), (6, 121), (121, 121), (64, 8)] {
                assert_eq!(name(colour(&picture, x, y, 5)), "white", "{x}, {y}, {case}");
            }
        }
    }
}

#[test]
fn the_seed_decides_the_picture() {
    let prompt = "a red heart on a white background";
    let [(a, _), (b, _), (c, _)] = [7, 7, 1 << 53].map(|seed| picture(prompt, seed, 0));
    assert!(a == b && a != c);
}
