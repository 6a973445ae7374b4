//! Compares every step of every sampler with diffusers, without a UNet: the predictions and the noise are recorded
//! (`tools/parity/make_samplers.py`).

#[cfg(test)]
#[path = "support/numbers.rs"]
mod numbers;
#[cfg(test)]
mod support;
#[cfg(test)]
#[path = "support/tensors.rs"]
mod tensors;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Result, Tensor};
use glimpse_shared::request::complete_sampler;
use glimpse_worker::schedulers::{Noise, SCHEDULERS, Sampler, SchedulerConfig};
use glimpse_worker::sdxl::Settings;
use numbers::numbers;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use support::parity;
use tensors::load;

/// The largest distance from diffusers, relative L2. diffusers computes in f32, this worker's coefficients are f64.
const LIMIT: f64 = 1e-5;

/// The numbers of one step's latents.
#[cfg(test)]
const PER_STEP: usize = 24;

#[cfg(test)]
#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    steps: usize,
    first: usize,
    draws: usize,
    config: Map<String, Value>,
}

/// Recorded noise, in order.
#[cfg(test)]
struct Recorded<'a> {
    noise: &'a Tensor,
    drawn: usize,
}

#[cfg(test)]
impl Noise for Recorded<'_> {
    fn draw(&mut self) -> Result<Tensor> {
        self.drawn += 1;
        self.noise.get(self.drawn - 1)
    }
}

#[cfg(test)]
fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(parity().join("samplers/steps.json")).expect("a file");
    serde_json::from_str(&text).expect("cases")
}

/// The sampler of a case: its class and what a request may change, over the configuration of another class.
#[cfg(test)]
fn sampler(case: &Case) -> Box<dyn Sampler> {
    let mut file = case.config.clone();
    let (changes, kept) = std::mem::take(&mut file)
        .into_iter()
        .partition(|(key, _)| ["timesteps", "sigmas", "eta", "s_churn"].contains(&&key[..]));
    let text = Value::Object(kept).to_string();
    let settings = Settings::parse(&text, Path::new("scheduler_config.json")).expect("JSON");
    let config = SchedulerConfig::read(settings).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let config = config.with(&changes).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    config.sampler(case.steps).unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

/// ||a - b|| / ||b||.
#[cfg(test)]
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    if difference == 0.0 { 0.0 } else { difference / norm(&mut b.iter().copied()) }
}

/// Runs a case. Returns its distances from diffusers by what is compared.
#[cfg(test)]
fn distances(case: &Case) -> Result<BTreeMap<String, f64>> {
    let all = load(parity().join("samplers/steps.safetensors"));
    let expected = |key: &str| all.get(&format!("{}.{key}", case.name));
    let [predictions, noise] = ["predictions", "noise"].map(|key| &all[key]);
    let mut sampler = sampler(case);
    let mut found = BTreeMap::new();
    let mut see = |key: &str, actual: Vec<f64>| {
        if let Some(expected) = expected(key) {
            let expected = numbers(expected);
            assert_eq!(actual.len(), expected.len(), "{} {key}: {actual:?} {expected:?}", case.name);
            // Each step for itself: the first latents are the largest.
            let length = if ["latents", "denoised"].contains(&key) { PER_STEP } else { actual.len() };
            let each = actual.chunks(length).zip(expected.chunks(length)).map(|(a, e)| distance(a, e));
            found.insert(key.to_owned(), each.fold(0.0, f64::max));
        }
    };
    see("timesteps", sampler.timesteps().to_vec());
    see("sigmas", sampler.sigmas().unwrap_or_default().to_vec());
    see("init_noise_sigma", vec![sampler.init_noise_sigma()]);
    let last = predictions.dim(0)? - 1;
    let added = sampler.add_noise(case.first, &predictions.get(last - 1)?, &predictions.get(last - 2)?)?;
    see("added", numbers(&added));
    let mut latents = match case.first {
        0 => (predictions.get(last)? * sampler.init_noise_sigma())?,
        _ => added,
    };
    let (mut trace, mut scales, mut pictures) = (numbers(&latents), Vec::new(), Vec::new());
    let mut recorded = Recorded { noise, drawn: 0 };
    for step in case.first..sampler.timesteps().len() {
        scales.push(sampler.input_scale(step));
        let prediction = predictions.get(step - case.first)?;
        let stepped = sampler.step(step, &prediction, &latents, &mut recorded)?;
        latents = stepped.sample;
        trace.extend(numbers(&latents));
        pictures.extend(numbers(&stepped.denoised));
    }
    assert_eq!(recorded.drawn, case.draws, "{}: draws", case.name);
    see("latents", trace);
    see("scales", scales);
    see("denoised", pictures);
    Ok(found)
}

#[test]
fn every_step_is_that_of_diffusers() -> Result<()> {
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases() {
        for (key, distance) in distances(&case)? {
            let class = case.name.split('.').next().unwrap_or_default();
            let largest = worst.entry(format!("{class} {key}")).or_default();
            *largest = largest.max(distance);
            // NaN counts as wrong.
            if distance > LIMIT || distance.is_nan() {
                wrong.push(format!("{} {key}: {distance:.1e} {:?}", case.name, case.config));
            }
        }
    }
    for (key, distance) in &worst {
        println!("{key}: {distance:.1e}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_class_has_cases_with_both_predictions() {
    let cases = cases();
    let document = include_str!("../../docs/compatibility.md");
    // `golden_cases.rs` has these; here are only their newer settings.
    let before = &SCHEDULERS[..7];
    for class in SCHEDULERS.iter().filter(|class| !before.contains(class)) {
        for predicts_v in [false, true] {
            let case = cases.iter().find(|case| {
                let v = case.config.get("prediction_type") == Some(&json!("v_prediction"));
                case.config["_class_name"] == **class && v == predicts_v
            });
            assert!(case.is_some(), "{class}, v prediction: {predicts_v}");
        }
        assert!(document.contains(&format!("| `{class}` |")), "{class} is not in docs/compatibility.md");
    }
}

#[test]
fn what_a_sampler_does_not_take_is_named() {
    let config = |class: &str, changes: Value| {
        let text = json!({ "_class_name": class }).to_string();
        let settings = Settings::parse(&text, Path::new("scheduler_config.json")).expect("JSON");
        let config = SchedulerConfig::read(settings).expect("supported");
        let changed = config.with(changes.as_object().expect("an object"));
        changed.and_then(|config| config.sampler(3)).map(drop).map_err(|e| e.to_string())
    };
    let (euler, lcm, ddim) = ("EulerDiscreteScheduler", "LCMScheduler", "DDIMScheduler");
    assert_eq!(config(euler, json!({ "sigmas": [9, 3, 1, 0] })), Ok(()));
    assert_eq!(config(lcm, json!({ "timesteps": [999, 500, 0] })), Ok(()));
    for (class, changes, key, part) in [
        (lcm, json!({ "sigmas": [9, 3, 1, 0] }), "sigmas", "LCMScheduler does not take"),
        (ddim, json!({ "timesteps": [999, 500, 0] }), "timesteps", "DDIMScheduler does not take"),
        (euler, json!({ "sigmas": [9, 3, 0], "timesteps": [1] }), "sigmas", "excludes timesteps"),
        (euler, json!({ "sigmas": [9, 3, 0] }), "sigmas", "gives 2 steps, and the request has 3"),
        (euler, json!({ "sigmas": [9, 3, 4, 0] }), "sigmas", "has 4 after 3"),
        (euler, json!({ "sigmas": [9] }), "sigmas", "at least 2"),
        (euler, json!({ "timesteps": [999, 999, 0] }), "timesteps", "has 999 after 999"),
        (euler, json!({ "timesteps": [1000, 500, 0] }), "timesteps", "begins at 1000"),
        (
            euler,
            json!({ "timesteps": [9, 5, 0], "use_karras_sigmas": true }),
            "timesteps",
            "excludes use_karras_sigmas",
        ),
        (euler, json!({ "use_beta_sigmas": true, "use_karras_sigmas": true }), "use_beta_sigmas", "excludes"),
        (ddim, json!({ "eta": 1.5 }), "eta", "not 0 to 1"),
        (euler, json!({ "s_churn": -1 }), "s_churn", "at least 0"),
        ("PNDMScheduler", json!({ "skip_prk_steps": false }), "skip_prk_steps", "not supported"),
        (euler, json!({ "sigma_data": 0.5 }), "sigma_data", "not supported"),
    ] {
        let error = config(class, changes.clone()).expect_err(&changes.to_string());
        assert!(error.contains(&format!("\"{key}\" ")) && error.contains(part), "{error}");
    }
}

/// A model's own placement of the levels does not contradict that of a request.
#[test]
fn a_new_placement_of_the_levels_replaces_the_own_one() {
    let class = "EulerDiscreteScheduler";
    let read = |own: Value| {
        let settings = Settings::parse(&own.to_string(), Path::new("scheduler_config.json")).expect("JSON");
        SchedulerConfig::read(settings).expect("supported")
    };
    let levels = |config: &SchedulerConfig, changes: Value, steps: usize| {
        let changed = config.with(changes.as_object().expect("an object")).expect("supported");
        changed.sampler(steps).expect("steps").sigmas().expect("levels").to_vec()
    };
    let plain = read(json!({ "_class_name": class }));
    let karras = read(json!({ "_class_name": class, "use_karras_sigmas": true }));
    for (changes, steps) in [
        (json!({ "use_beta_sigmas": true }), 5),
        (json!({ "timesteps": [999, 500, 9] }), 3),
        (json!({ "use_karras_sigmas": false }), 5),
    ] {
        assert_eq!(levels(&karras, changes.clone(), steps), levels(&plain, changes, steps));
    }
    let nothing = json!({ "use_beta_sigmas": false });
    assert_ne!(levels(&karras, nothing.clone(), 5), levels(&plain, nothing, 5), "it keeps its own");
}

/// Lists are for a request. A model's file with one is read without it.
#[test]
fn a_list_in_a_file_has_no_effect() {
    let text = json!({ "_class_name": "EulerDiscreteScheduler", "timesteps": [999, 1] }).to_string();
    let settings = Settings::parse(&text, Path::new("scheduler_config.json")).expect("JSON");
    let config = SchedulerConfig::read(settings).expect("supported");
    assert_eq!(config.sampler(5).expect("five steps").timesteps().len(), 5);
}

#[test]
fn a_model_offers_the_samplers_of_its_own_parameterisation() {
    let offered = |class: &str| {
        let text = json!({ "_class_name": class }).to_string();
        let settings = Settings::parse(&text, Path::new("scheduler_config.json")).expect("JSON");
        SchedulerConfig::read(settings).expect("supported").offered().collect::<Vec<_>>()
    };
    let edm = ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"];
    assert_eq!(offered("EDMEulerScheduler"), edm);
    let others: Vec<_> = SCHEDULERS.iter().copied().filter(|class| !edm.contains(class)).collect();
    assert_eq!(offered("PNDMScheduler"), others);
}

/// A recipe writes out what a request leaves to the model. That is the same sampler in every setting.
#[test]
fn a_sampler_that_is_written_out_is_the_same() {
    for own in [
        json!({ "_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
            "steps_offset": 1, "timestep_spacing": "leading", "use_karras_sigmas": true, "clip_sample": false, "sigma_max": null }),
        json!({ "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++", "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": true, "timestep_spacing": "trailing", "clip_sample": true, "eta": 0.3 }),
        json!({ "_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5 }),
    ] {
        let settings = Settings::parse(&own.to_string(), Path::new("scheduler_config.json")).expect("JSON");
        let config = SchedulerConfig::read(settings).expect("supported");
        for class in config.offered() {
            for asked in [
                json!({}),
                json!({ "timestep_spacing": "linspace" }),
                json!({ "use_exponential_sigmas": true }),
                json!({ "timesteps": [999, 500, 9] }),
                json!({ "sigmas": [14.0, 3.0, 0.5, 0.0] }),
            ] {
                let mut request = Map::from_iter([
                    ("scheduler".to_owned(), json!(class)),
                    ("scheduler_config".to_owned(), asked.clone()),
                ]);
                let mut changes = asked.as_object().expect("an object").clone();
                changes.insert("_class_name".to_owned(), json!(class));
                let built = |changes: &Map<String, Value>| {
                    let sampler = config.with(changes).and_then(|config| config.sampler(3));
                    sampler.map(|sampler| format!("{sampler:?}")).map_err(|error| error.to_string())
                };
                let left_to_the_model = built(&changes);
                complete_sampler(&mut request, config.members());
                let mut written = request["scheduler_config"].as_object().expect("an object").clone();
                written.insert("_class_name".to_owned(), request["scheduler"].clone());
                assert!(written.len() > changes.len());
                assert_eq!(built(&written), left_to_the_model, "{own} {class} {asked}");
            }
        }
    }
}
