//! Whole requests against what diffusers computed for them, intermediate by intermediate.
//!
//! Limits, all relative L2 in f32. One against two threads moves a UNet call of diffusers itself by up to
//! 1e-5, so each leaves a margin of about ten; the mistakes of practice (a wrong epsilon, GELU, pad token
//! or hidden layer) break them by a factor of ten or more.

#[path = "../examples/dump/case.rs"]
mod case;
#[cfg(test)]
#[path = "support/close.rs"]
mod close;
#[cfg(test)]
#[path = "support/numbers.rs"]
mod numbers;
#[path = "../examples/dump/run.rs"]
mod run;
#[cfg(test)]
mod support;
#[cfg(test)]
#[path = "support/tensors.rs"]
mod tensors;

use case::Case;
use close::assert_close;
use glimpse_worker::pipeline::{LoadOptions, SdxlPipeline};
use numbers::numbers;
use support::parity;
use tensors::load;

/// The limit for a tensor, or `None` where it must be equal.
fn limit(name: &str, last: usize) -> Option<f64> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    match stem {
        "input_ids_" | "negative_input_ids_" | "add_time_ids" => None,
        "timesteps" | "sigmas" | "alphas_cumprod" => Some(2e-6),
        "noise" | "init_latents" | "step_noise" | "encoder_noise" => Some(1e-5),
        "latents" if name == format!("latents.{last}") => Some(1e-3),
        "latents" => Some(2e-4),
        "image" => Some(5e-4),
        // The 0 of "pred_x0" goes with the digits of the step.
        "preview" | "pred_x" | "preview_x" => Some(1e-3),
        _ => Some(1e-4),
    }
}

#[cfg(test)]
fn check(name: &str) {
    let cases = Case::read(&parity().join("cases.json")).expect("cases.json");
    let case = cases.iter().find(|c| c.name == name).expect("a case of that name");
    let pipeline = SdxlPipeline::load(LoadOptions {
        taesd: Some(parity().join("taesdxl")),
        precision: case.precision(),
        ..LoadOptions::cpu(parity().join("model"))
    })
    .unwrap_or_else(|e| panic!("{e}"));
    let actual =
        run::run(&pipeline, &case.inputs(&parity().join("cases")).expect("supported"), &case.preview_steps)
            .unwrap_or_else(|e| panic!("{e}"));
    let expected = load(parity().join("cases").join(format!("{name}.safetensors")));
    let last = expected.keys().filter_map(|k| k.strip_prefix("latents.")?.parse().ok()).max().unwrap_or(0);
    let mut names: Vec<_> = expected
        .keys()
        .filter(|k| !["alphas_cumprod", "input_image_u8", "encoder_input"].contains(&k.as_str()))
        .collect();
    names.sort();
    for name in names {
        let (actual, expected) =
            (actual.get(name).unwrap_or_else(|| panic!("{name} is missing")), &expected[name]);
        if name == "image_u8" {
            assert_eq!(actual.dims(), expected.dims());
            let worst =
                numbers(actual).iter().zip(numbers(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst <= 2.0, "image_u8: {worst} of 255 apart");
        } else {
            match limit(name, last) {
                Some(limit) => assert_close(name, actual, expected, limit),
                None => assert_eq!(numbers(actual), numbers(expected), "{name}"),
            }
        }
    }
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*
    };
}

cases! {
    euler20_cfg5
    euler4_cfg75_nonsquare_nullneg
    euler4_cfg75_emptyneg
    euler1_nocfg_unicode
    euler4_long_prompt
    euler4_empty_prompt_microcond
    euler4_fp16weights
    lightning4_euler_trailing
    eulera4_cfg5
    turbo1_eulera_trailing
    ddim10_cfg5
    dpmpp2m_karras20_cfg75
    unipc8_cfg5
    lcm4_nocfg
    img2img_euler10_s06
    extra_euler4_batch2_clipskip_rescale
    extra_euler4_vpred_zsnr
}
