//! `guidance_step.cu`, against the samplers.

use std::path::Path;

use candle_core::{DType, Tensor};
use glimpse_worker::schedulers::{Noise, Sampler, SchedulerConfig};
use glimpse_worker::sdxl::Settings;
use glimpse_worker::sdxl::ops::{LinearStep, kernels};

use super::close::{Numbers, SINGLE, close};
use super::launch::{Buffer, Finding, Launch, TYPES};
use super::program::Program;

const STEPS: usize = 6;
const SCALE: f64 = 7.5;

/// For samplers that draw none.
struct NoNoise;

impl Noise for NoNoise {
    fn draw(&mut self) -> candle_core::Result<Tensor> {
        candle_core::bail!("this sampler draws no noise")
    }
}

fn sampler(class: &str, prediction: &str) -> Box<dyn Sampler> {
    let text = format!(
        r#"{{"_class_name": "{class}", "prediction_type": "{prediction}", "beta_schedule": "scaled_linear",
            "beta_start": 0.00085, "beta_end": 0.012, "timestep_spacing": "leading", "clip_sample": false}}"#
    );
    let settings = Settings::parse(&text, Path::new("scheduler_config.json")).expect("a configuration");
    SchedulerConfig::read(settings).and_then(|config| config.sampler(STEPS)).expect("a sampler")
}

/// The coefficients a, b, c and d of one step, as the head of `guidance_step.cu` gives them.
fn coefficients(sampler: &dyn Sampler, prediction: &str, step: usize) -> [f64; 4] {
    match (sampler.sigmas(), prediction) {
        (Some(sigmas), "epsilon") => [1.0, sigmas[step + 1] - sigmas[step], 1.0, -sigmas[step]],
        (Some(sigmas), _) => {
            let (s, r) = (sigmas[step], sigmas[step + 1] / sigmas[step]);
            let (c, d) = (1.0 / (s * s + 1.0), -s / (s * s + 1.0).sqrt());
            [r + (1.0 - r) * c, (1.0 - r) * d, c, d]
        }
        (None, _) => {
            let [(alpha, sigma), (next_alpha, next_sigma)] =
                [step, step + 1].map(|step| level(sampler, step));
            let (c, d) = (1.0 / alpha, -sigma / alpha);
            [next_alpha * c, next_alpha * d + next_sigma, c, d]
        }
    }
}

/// How much of the picture and how much noise latents have at a step of DDIM.
fn level(sampler: &dyn Sampler, step: usize) -> (f64, f64) {
    let one = Tensor::ones(1, DType::F64, &candle_core::Device::Cpu).expect("a tensor");
    let zero = one.zeros_like().expect("a tensor");
    let of = |picture, noise| {
        let mixed = sampler.add_noise(step, picture, noise).and_then(|t| t.to_vec1::<f64>());
        mixed.expect("a number")[0]
    };
    (of(&one, &zero), of(&zero, &one))
}

/// The prediction as `Guidance::apply` of `pipeline/denoising.rs` makes it.
fn guided(negative: &Tensor, positive: &Tensor) -> candle_core::Result<Tensor> {
    let (negative, positive) = (negative.to_dtype(DType::F32)?, positive.to_dtype(DType::F32)?);
    &negative + ((positive - &negative)? * SCALE)?
}

pub(crate) fn guidance_step(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    let samplers = [
        ("EulerDiscreteScheduler", "epsilon"),
        ("EulerDiscreteScheduler", "v_prediction"),
        ("DDIMScheduler", "epsilon"),
    ];
    // Numbers, and a GPU's blocks and threads of a block or others: whole packs, a tail, fewer threads than numbers, one
    // number.
    let sizes = [(4 * 16 * 16 + 1, None), (1021, None), (1021, Some((2, 32))), (1, Some((1, 32)))];
    for (class, prediction) in samplers {
        let mut sampler = sampler(class, prediction);
        for (step, (count, grid)) in (0..STEPS - 1).zip(sizes.into_iter().cycle()) {
            let sample = numbers.draw(DType::F32, &[count]);
            let sample = (sample * sampler.sigmas().map_or(1.0, |s| s[step].hypot(1.0))).expect("numbers");
            let [a, b, c, d] = coefficients(sampler.as_ref(), prediction, step);
            for (dtype, suffix) in TYPES {
                let (negative, positive) = (numbers.draw(dtype, &[count]), numbers.draw(dtype, &[count]));
                let combined = guided(&negative, &positive).expect("one shape");
                let expected = sampler.step(step, &combined, &sample, &mut NoNoise).expect("one shape");
                let what = format!("{class} {prediction} step {step}, {count} of {dtype:?}");
                let play = |[from, to]: [Buffer; 2], denoised: Option<Buffer>| {
                    let [negative, positive] = [&negative, &positive].map(Buffer::input);
                    let step = LinearStep { a, b, c, d };
                    let buffers = [negative, positive, from, to];
                    let launch = kernels::guidance_step(buffers, denoised, count, SCALE, step);
                    let launch = Launch::of(launch, suffix);
                    match grid {
                        Some((blocks, block)) => launch.on((1, blocks), block),
                        None => launch,
                    }
                    .play(program)
                };
                let room = || Buffer::output(DType::F32, &[count]);
                let both = play([Buffer::input(&sample), room()], Some(room()))?;
                close(&format!("{what}: latents"), &both[0], &expected.sample, SINGLE)?;
                close(&format!("{what}: denoised"), &both[1], &expected.denoised, SINGLE)?;
                // In place, and without the estimate.
                let alone = play([Buffer::changed(&sample), Buffer::same(2)], None)?;
                close(&format!("{what}: latents alone"), &alone[0], &expected.sample, SINGLE)?;
            }
        }
    }
    Ok(())
}
