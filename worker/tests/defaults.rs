//! Keys that are missing in `scheduler_config.json` and have a default that ruins the picture.

#[cfg(test)]
#[path = "support/log.rs"]
mod log;
#[cfg(test)]
mod support;

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use glimpse_worker::schedulers::{SCHEDULERS, SchedulerConfig};
use glimpse_worker::sdxl::{ConfigFiles, Settings};
use log::logged;
use serde_json::{Value, json};
use support::parity;

/// The log lines of reading the document as `scheduler_config.json`.
#[cfg(test)]
fn log_of(document: &Value) -> Vec<String> {
    let settings =
        Settings::parse(&document.to_string(), Path::new("model/scheduler_config.json")).expect("JSON");
    let (config, log) = logged(|| SchedulerConfig::read(settings).expect("supported"));
    // The choice of another sampler by a job logs nothing.
    let changes = json!({ "_class_name": "DDIMScheduler" }).as_object().expect("an object").clone();
    let (_, again) = logged(|| config.with(&changes).and_then(|c| c.sampler(20)).expect("supported"));
    assert_eq!(again, Vec::<String>::new());
    // Not every class reads every key, which is logged too.
    log.into_iter().filter(|line| !line.contains("unknown setting")).collect()
}

/// The classes that read betas.
#[cfg(test)]
fn discrete() -> impl Iterator<Item = &'static str> {
    SCHEDULERS.iter().copied().filter(|class| !class.starts_with("EDM"))
}

#[cfg(test)]
fn sdxl() -> Value {
    let text = fs::read_to_string(parity().join("model/scheduler/scheduler_config.json")).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_missing_key_that_ruins_the_picture_is_named_with_its_right_value() {
    assert_eq!(log_of(&sdxl()), Vec::<String>::new());
    for (key, right) in [
        ("clip_sample", "\"clip_sample\": false"),
        ("beta_schedule", "\"beta_schedule\": \"scaled_linear\""),
        ("beta_start", "\"beta_start\": 0.00085"),
        ("beta_end", "\"beta_end\": 0.012"),
    ] {
        for class in discrete() {
            let mut document = sdxl();
            document["_class_name"] = class.into();
            document.as_object_mut().expect("an object").remove(key);
            let log = log_of(&document);
            assert_eq!(log.len(), 1, "{key} of {class}: {log:?}");
            for part in ["WARN", "model/scheduler_config.json", right] {
                assert!(log[0].contains(part), "{part:?} in {log:?}");
            }
        }
    }
    let mut document = sdxl();
    document["clip_sample"] = true.into();
    let log = log_of(&document);
    assert!(log.len() == 1 && log[0].contains("\"clip_sample\": false"), "{log:?}");
    // This schedule needs no range.
    let mut document = sdxl();
    document["beta_schedule"] = "squaredcos_cap_v2".into();
    document.as_object_mut().expect("an object").retain(|key, _| key != "beta_start" && key != "beta_end");
    assert_eq!(log_of(&document), Vec::<String>::new());
}

/// The default betas of each class, if the configuration has none.
#[test]
fn every_class_has_the_default_betas_of_diffusers() {
    let noised = |document: &Value| {
        let settings = Settings::parse(&document.to_string(), Path::new("scheduler_config.json"));
        let config = settings.and_then(SchedulerConfig::read).expect("supported");
        let sampler = config.sampler(4).expect("four steps");
        let ones = Tensor::ones((1, 1, 1, 1), DType::F32, &Device::Cpu).expect("a number");
        let numbers = (0..4).map(|step| sampler.add_noise(step, &ones, &ones)?.sum_all()?.to_scalar::<f32>());
        numbers.collect::<candle_core::Result<Vec<_>>>().expect("numbers")
    };
    for class in discrete() {
        let (start, end, schedule) = match class {
            "LCMScheduler" | "TCDScheduler" => (0.00085, 0.012, "scaled_linear"),
            "HeunDiscreteScheduler"
            | "KDPM2DiscreteScheduler"
            | "KDPM2AncestralDiscreteScheduler"
            | "DPMSolverSDEScheduler" => (0.00085, 0.012, "linear"),
            _ => (0.0001, 0.02, "linear"),
        };
        let stated = json!({
            "_class_name": class, "beta_start": start, "beta_end": end, "beta_schedule": schedule,
        });
        assert_eq!(noised(&json!({ "_class_name": class })), noised(&stated), "{class}");
    }
}

#[test]
fn the_demo_and_the_built_in_configuration_have_all_keys() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
    for files in [ConfigFiles::Folder(demo), ConfigFiles::SdxlBase("")] {
        let settings =
            files.component("scheduler").settings("scheduler_config.json", "a test").expect("settings");
        for (key, right) in [("clip_sample", json!(false)), ("set_alpha_to_one", json!(false))] {
            assert_eq!(settings.get::<Value>(key).expect("any type"), Some(right), "{key} of {files:?}");
        }
        assert_eq!(settings.get::<u32>("steps_offset").expect("a number"), Some(1), "{files:?}");
        let (_, log) = logged(|| SchedulerConfig::read(settings).expect("supported"));
        assert_eq!(log, Vec::<String>::new(), "{files:?}");
    }
}
