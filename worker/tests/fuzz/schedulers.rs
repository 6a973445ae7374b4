//! Damaged `scheduler_config.json`, for every sampler.

use std::path::Path;

use candle_core::{Device, Tensor};
use glimpse_test_support::fuzz::{self, Change, changes};
use glimpse_worker::{
    schedulers::{Noise, SCHEDULERS, SchedulerConfig},
    sdxl::Settings,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Memory for the tables of the largest number of timesteps and steps, in bytes.
const BASE: usize = 16 << 20;
/// See [`crate::copy`].
const PER_BYTE: usize = 100;

/// Every key that some sampler reads.
fn document(class: usize) -> Value {
    let mut document = json!({
        "_class_name": SCHEDULERS[class], "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "trained_betas": null, "rescale_betas_zero_snr": false,
        "steps_offset": 1, "timestep_spacing": "leading", "prediction_type": "epsilon", "sigma_max": null,
        "sigma_min": null, "use_karras_sigmas": false, "use_exponential_sigmas": false, "use_beta_sigmas": false,
        "final_sigmas_type": "zero", "timestep_type": "discrete", "interpolation_type": "linear",
        "solver_order": 2, "solver_type": null, "algorithm_type": "dpmsolver++", "lower_order_final": true,
        "euler_at_final": false, "disable_corrector": [], "set_alpha_to_one": false, "clip_sample": false,
        "clip_sample_range": 1.0,  "original_inference_steps": 50, "timestep_scaling": 10.0, "predict_x0": true,
    });
    let more = json!({
        "eta": 0.3, "s_churn": 1.0, "s_tmin": 0.0, "s_tmax": 100.0, "s_noise": 1.0, "sigmas": null, "timesteps": null,
        "variance_type": "fixed_small", "sigma_data": null, "rho": 7.0, "sigma_schedule": "karras",
        "skip_prk_steps": true,
    });
    document.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    document
}

struct Ones(Tensor);

impl Noise for Ones {
    fn draw(&mut self) -> candle_core::Result<Tensor> {
        Ok(self.0.clone())
    }
}

/// Runs the steps, or some of them.
fn sample(text: &str, steps: usize) -> Result<(), String> {
    let settings = Settings::parse(text, Path::new("scheduler_config.json")).map_err(|e| e.to_string())?;
    let config = SchedulerConfig::read(settings).map_err(|e| e.to_string())?;
    let mut sampler = config.sampler(steps).map_err(|e| e.to_string())?;
    let ones =
        Tensor::ones((1, 4, 2, 2), candle_core::DType::F32, &Device::Cpu).map_err(|e| e.to_string())?;
    let (mut latents, mut noise) = (ones.clone(), Ones(ones));
    let steps = sampler.timesteps().len();
    let _ = (sampler.init_noise_sigma(), sampler.sigmas());
    for step in 0..steps.min(30) {
        let _ = (sampler.input_scale(step), sampler.add_noise(step, &latents, &noise.0));
        let Ok(stepped) = sampler.step(step, &noise.0.clone(), &latents, &mut noise) else { break };
        latents = stepped.sample;
    }
    // An image-to-image job that starts at its last step.
    let _ = sampler.add_noise(steps.saturating_sub(1), &latents, &noise.0);
    Ok(())
}

#[test]
fn a_changed_scheduler_is_read_or_named() {
    fuzz::alone(|| {
        let steps = prop::sample::select(vec![0, 1, 2, 3, 4, 7, 20, 50, 51, 999, 1000, 1001, usize::MAX]);
        fuzz::check(2000, &(0..SCHEDULERS.len(), changes(), steps), |(class, changes, steps)| {
            let text = Change::all(&changes, &document(class));
            let case = (SCHEDULERS[class], &changes, steps);
            if let Err(error) = fuzz::within(&case, BASE + PER_BYTE * text.len(), || sample(&text, steps)) {
                prop_assert!(error.starts_with("scheduler_config.json: "), "{error:.300}");
            }
            Ok(())
        });
    });
}

#[test]
fn every_sampler_reads_the_document() {
    fuzz::alone(|| {
        for class in 0..SCHEDULERS.len() {
            assert_eq!(sample(&document(class).to_string(), 20), Ok(()));
        }
    });
}
