//! Compares all intermediate tensors of a request with those of diffusers.
//!
//! The limits are relative L2 errors in f32. In diffusers itself a UNet call with two threads differs by up to 1e-5
//! from one with one thread, so each limit has a margin of about ten. Usual errors (a wrong epsilon, GELU, pad token or
//! hidden layer) exceed the limits by a factor of ten or more.

#[path = "../support/close.rs"]
mod close;
#[path = "../support/numbers.rs"]
mod numbers;
#[path = "../support/tensors.rs"]
mod tensors;

use std::path::Path;

use candle_core::DType;
use close::assert_close;
use glimpse_worker::dump::{Case, run};
use glimpse_worker::pipeline::{Inputs, LoadOptions, SdxlPipeline};
use numbers::numbers;
use tensors::load;

/// The limit of a tensor; `None` if it must be equal.
fn limit(name: &str, last: usize) -> Option<f64> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    match stem {
        "input_ids_" | "negative_input_ids_" | "add_time_ids" | "second_add_time_ids" => None,
        "timesteps" | "sigmas" | "alphas_cumprod" => Some(2e-6),
        "noise" | "init_latents" | "step_noise" | "encoder_noise" => Some(1e-5),
        "latents" if name == format!("latents.{last}") => Some(1e-3),
        "latents" => Some(2e-4),
        "image" => Some(5e-4),
        // The 0 of "pred_x0" is removed together with the digits of the step.
        "preview" | "pred_x" | "preview_x" => Some(1e-3),
        _ => Some(1e-4),
    }
}

/// The limit in half precision: the error of diffusers itself, measured by `tools/parity/half_precision.py`. Tables and
/// noise are float32 here too.
fn half_limit(dtype: DType, name: &str) -> Option<f64> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let [float16, bfloat16] = match stem {
        "prompt_embeds" | "negative_prompt_embeds" => [1.2e-3, 9.1e-3],
        // Only a few numbers: diffusers has [2.8e-3, 1.0e-2] and [1.4e-3, 1.2e-2].
        "pooled_prompt_embeds" => [2.8e-3, 1.2e-2],
        // With an embedding diffusers has 1.67e-3.
        "negative_pooled_prompt_embeds" => [1.7e-3, 1.6e-2],
        "noise_pred" | "unet_out" => [2.3e-2, 1.7e-1],
        "latents" => [1.1e-2, 9.4e-2],
        "pred_x" => [7.2e-3, 5.7e-2],
        "preview" => [9.1e-3, 6.6e-2],
        // diffusers has 9.0e-2; the order of a sum explains the difference.
        "preview_x" => [1.4e-2, 1.0e-1],
        "image" => [1.6e-2, 1.9e-1],
        "unet_in" => [1e-3, 8e-3],
        _ => return limit(name, 0),
    };
    Some(if dtype == DType::F16 { float16 } else { bfloat16 })
}

/// Runs the request `name` of `folder/cases.json` with the pipeline of `options`, and compares all tensors of
/// `folder/cases/name.safetensors`.
pub(crate) fn check(folder: &Path, name: &str, options: LoadOptions) {
    check_changed(folder, name, options, |_| ());
}

/// As [`check`], for a changed request.
pub(crate) fn check_changed(
    folder: &Path,
    name: &str,
    options: LoadOptions,
    change: impl FnOnce(&mut Inputs),
) {
    let cases = Case::read(&folder.join("cases.json")).expect("cases.json");
    let case = cases.into_iter().find(|(n, _)| n == name).expect("a case of that name").1.expect("a request");
    let dtype = options.dtype;
    let options = LoadOptions { precision: case.precision(), ..options };
    let pipeline = SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let mut inputs = case.inputs(&folder.join("cases")).expect("supported");
    change(&mut inputs);
    let actual = run(&pipeline, &inputs, &case.preview_steps).unwrap_or_else(|e| panic!("{e}"));
    let expected = load(folder.join("cases").join(format!("{name}.safetensors")));
    let last = expected.keys().filter_map(|k| k.strip_prefix("latents.")?.parse().ok()).max().unwrap_or(0);
    let given = [
        "alphas_cumprod",
        "input_image_u8",
        "input_mask_u8",
        "input_latents",
        "encoder_input",
        "control_u8",
        "control_2_u8",
        "first_image_u8",
        "second_unet_in",
    ];
    // A second pass begins with pictures of 8 bits, of which some are rounded to another level.
    let slack = if expected.contains_key("first_image_u8") { 10.0 } else { 1.0 };
    let mut names: Vec<_> = expected.keys().filter(|k| !given.contains(&k.as_str())).collect();
    names.sort();
    for name in names {
        let (actual, expected) =
            (actual.get(name).unwrap_or_else(|| panic!("{name} is missing")), &expected[name]);
        if name == "image_u8" {
            assert_eq!(actual.dims(), expected.dims());
            let worst =
                numbers(actual).iter().zip(numbers(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst <= 2.0 || dtype != DType::F32, "image_u8: {worst} of 255 apart");
        } else {
            let limit = if dtype == DType::F32 { limit(name, last) } else { half_limit(dtype, name) };
            match limit {
                Some(limit) => assert_close(name, actual, expected, slack * limit),
                None => assert_eq!(numbers(actual), numbers(expected), "{name}"),
            }
        }
    }
}
