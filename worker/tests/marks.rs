//! The marks of a model's file are used, or the file is refused.

#[cfg(test)]
#[path = "support/folders.rs"]
mod folders;
#[cfg(test)]
#[path = "support/log.rs"]
mod log;
#[cfg(test)]
#[path = "support/marked.rs"]
mod marked;
#[cfg(test)]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use folders::copy;
use glimpse_worker::pipeline::{Inputs, LoadOptions, Pipeline, PipelineError, SchedulerChoice, SdxlPipeline};
use log::logged;
use marked::mark;
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};
use support::parity;
use tempfile::TempDir;

/// The marks of a file: tensors (name, dtype, shape) and metadata.
type Marks<'a> = (&'a [(&'a str, Dtype, &'a [usize])], &'a [(&'a str, &'a str)]);

#[cfg(test)]
const V_PRED: (&str, Dtype, &[usize]) = ("v_pred", Dtype::F32, &[0]);
#[cfg(test)]
const ZERO_SNR: (&str, Dtype, &[usize]) = ("ztsnr", Dtype::F32, &[0]);
#[cfg(test)]
const NO_MARKS: Marks<'_> = (&[], &[]);

/// The fixtures' single file with marks, and a configuration with a changed scheduler.
#[cfg(test)]
struct MarkedModel {
    _folder: TempDir,
    model: PathBuf,
    config: PathBuf,
}

#[cfg(test)]
impl MarkedModel {
    fn new((tensors, metadata): Marks<'_>, scheduler: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("marked.safetensors");
        mark(&parity().join("variants/model.safetensors"), &model, tensors, metadata);
        let config = folder.path().join("config");
        copy(&parity().join("model"), &config, &|name| !name.ends_with(".safetensors"));
        change(&config.join("scheduler/scheduler_config.json"), scheduler);
        Self { _folder: folder, model, config }
    }

    fn options(&self) -> LoadOptions {
        LoadOptions {
            config: Some(self.config.clone()),
            taesd: Some(parity().join("variants/taesdxl")),
            ..LoadOptions::cpu(&self.model)
        }
    }

    fn load(&self) -> SdxlPipeline {
        SdxlPipeline::load(self.options()).unwrap_or_else(|e| panic!("{e}"))
    }

    fn refusal(&self) -> String {
        SdxlPipeline::load(self.options()).expect_err("refused").to_string()
    }
}

/// Replaces keys of a JSON file; `null` removes a key.
#[cfg(test)]
fn change(path: &Path, changes: &Value) {
    let mut json: Map<String, Value> =
        serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON");
    json.extend(changes.as_object().expect("an object").clone());
    json.retain(|_, value| !value.is_null());
    fs::write(path, Value::from(json).to_string()).expect("written");
}

#[cfg(test)]
fn try_picture(pipeline: &SdxlPipeline, scheduler: Option<&str>) -> Result<Vec<u8>, PipelineError> {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 2;
    inputs.scheduler =
        scheduler.map(|name| SchedulerChoice { name: Some(name.to_owned()), changes: Map::new() });
    let mut denoising = pipeline.begin(&inputs)?;
    while !pipeline.progress(&denoising).is_done() {
        pipeline.step(&mut [&mut denoising])?;
    }
    Ok(pipeline.finish(denoising)?.remove(0).data)
}

#[cfg(test)]
fn picture(pipeline: &SdxlPipeline) -> Vec<u8> {
    try_picture(pipeline, None).expect("a picture")
}

/// The picture of the file without marks, with these changes of the configuration instead.
#[cfg(test)]
fn by_hand(scheduler: &Value) -> Vec<u8> {
    picture(&MarkedModel::new(NO_MARKS, scheduler).load())
}

#[test]
fn marks_of_v_prediction_are_used() {
    let expected = by_hand(&json!({ "prediction_type": "v_prediction" }));
    assert!(expected != by_hand(&json!({})), "the type makes a difference");
    let tensors: [(&str, Dtype, &[usize]); 7] = [
        ("v_pred", Dtype::F32, &[0]),
        ("v_pred", Dtype::F16, &[]),
        ("v_pred", Dtype::I8, &[0]),
        ("v_pred", Dtype::BOOL, &[1]),
        ("model.diffusion_model.v_pred", Dtype::BF16, &[0]),
        ("state_dict.v_pred", Dtype::F32, &[0]),
        ("V_Pred", Dtype::U8, &[0]),
    ];
    let metadata = [
        ("modelspec.prediction_type", "v"),
        ("modelspec.prediction_type", "v_prediction"),
        ("modelspec.prediction_type", "V-Prediction"),
        ("modelspec.predict_key", "v"),
        // As ComfyUI writes values of a workflow.
        ("modelspec.predict_key", "\"v\""),
        ("ss_v_parameterization", "True"),
        ("ss_v_parameterization", "on"),
        ("ModelSpec.Prediction_Type", "v"),
        ("prediction_type", "v_prediction"),
        ("modelspec.architecture", "stable-diffusion-xl-v1-base-v"),
    ];
    let mut all: Vec<Marks<'_>> = Vec::new();
    for tensor in &tensors {
        all.push((slice::from_ref(tensor), &[]));
    }
    for pair in &metadata {
        all.push((&[], slice::from_ref(pair)));
    }
    for marks in all {
        // For every value in the configuration.
        for scheduler in
            [json!({}), json!({ "prediction_type": null }), json!({ "prediction_type": "sample" })]
        {
            let own = picture(&MarkedModel::new(marks, &scheduler).load());
            assert!(own == expected, "{marks:?} with {scheduler}");
        }
    }
}

#[test]
fn marks_of_zero_terminal_snr_give_rescaled_betas_and_trailing_steps() {
    let by_hand = |prediction| {
        MarkedModel::new(
            NO_MARKS,
            &json!({
                "prediction_type": prediction, "rescale_betas_zero_snr": true, "timestep_spacing": "trailing",
            }),
        )
        .load()
    };
    let expected = by_hand("v_prediction");
    let marks: [Marks<'_>; 2] = [
        (&[V_PRED, ZERO_SNR], &[]),
        (&[], &[("modelspec.prediction_type", "v"), ("ss_zero_terminal_snr", "True")]),
    ];
    for marks in marks {
        // Without a spacing in the configuration each class has its own default.
        for scheduler in [json!({}), json!({ "timestep_spacing": null, "rescale_betas_zero_snr": false })] {
            let own = MarkedModel::new(marks, &scheduler).load();
            assert!(picture(&own) == picture(&expected), "{marks:?} with {scheduler}");
            // Another sampler of a request keeps the marks.
            for name in own.describe().schedulers {
                let [own, expected] =
                    [&own, &expected].map(|p| try_picture(p, Some(&name)).expect("a picture"));
                assert!(own == expected, "{marks:?} with {scheduler} and {name}");
            }
        }
    }
    // The mark of zero terminal SNR is used, and the prediction type is the configuration's.
    let only = MarkedModel::new((&[ZERO_SNR], &[]), &json!({ "prediction_type": "v_prediction" })).load();
    assert!(picture(&only) == picture(&expected), "with v prediction by the configuration");
    let (only, log) = logged(|| MarkedModel::new((&[ZERO_SNR], &[]), &json!({})).load());
    assert!(picture(&only) == picture(&by_hand("epsilon")), "with epsilon");
    assert!(
        log.iter().any(|line| line.contains("zero terminal SNR") && line.contains("--config")),
        "{log:?}"
    );
    // These samplers cannot use a noise prediction without signal: a bad request, without a retry.
    for name in ["DDIMScheduler", "LCMScheduler"] {
        let error = try_picture(&only, Some(name)).expect_err("refused");
        assert!(matches!(error, PipelineError::BadRequest { .. }), "{name}: {error}");
        assert!(error.to_string().contains("v_prediction"), "{name}: {error}");
    }
}

#[test]
fn marks_of_epsilon_and_x0_are_used() {
    for (value, prediction) in [("epsilon", "epsilon"), ("eps", "epsilon"), ("x0", "sample")] {
        let expected = by_hand(&json!({ "prediction_type": prediction }));
        for key in ["modelspec.prediction_type", "modelspec.predict_key"] {
            let marks: Marks<'_> = (&[], &[(key, value)]);
            let own = MarkedModel::new(marks, &json!({ "prediction_type": "v_prediction" })).load();
            assert!(picture(&own) == expected, "{key}: {value}");
        }
    }
    let expected = by_hand(&json!({ "prediction_type": "v_prediction" }));
    for value in ["", "None", "null", " "] {
        let marks: Marks<'_> = (&[], &[("modelspec.prediction_type", value)]);
        let own = MarkedModel::new(marks, &json!({ "prediction_type": "v_prediction" })).load();
        assert!(picture(&own) == expected, "{value:?} is not a mark");
    }
}

#[test]
fn a_parameterisation_that_is_not_implemented_is_refused_by_name() {
    for (key, name) in [
        ("edm_vpred.sigma_max", "CosXL"),
        ("edm_vpred.sigma_min", "CosXL"),
        ("edm_mean", "Playground"),
        ("edm_std", "Playground"),
        ("edm_vpred.sigma_data", "CosXL"),
        ("edm_eps.sigma_max", "EDM"),
        ("EDM.sigma_max", "EDM"),
        ("model.diffusion_model.edm_mean", "Playground"),
    ] {
        // For all other marks and configurations.
        for others in [&[][..], &[V_PRED, ZERO_SNR]] {
            let tensors = [others, &[(key, Dtype::F32, &[4][..])]].concat();
            for scheduler in [json!({}), json!({ "prediction_type": "v_prediction" })] {
                let message = MarkedModel::new((&tensors, &[]), &scheduler).refusal();
                for part in ["marked.safetensors", key, "EDM", name, "not supported", "use a checkpoint"] {
                    assert!(message.contains(part), "{part:?} in {message}");
                }
            }
        }
    }
    for (key, value) in [
        ("modelspec.prediction_type", "flow"),
        ("modelspec.prediction_type", "EDM"),
        ("modelspec.predict_key", "rectified_flow"),
        ("modelspec.noise_process", "flow"),
        ("modelspec.architecture", "stable-diffusion-xl-v1-cosxl"),
        ("modelspec.architecture", "playground-v2.5"),
    ] {
        let message = MarkedModel::new((&[], &[(key, value)]), &json!({})).refusal();
        for part in ["marked.safetensors", key, &value.to_lowercase(), "not supported", "use a checkpoint"] {
            assert!(message.contains(part), "{part:?} in {message}");
        }
    }
}

#[test]
fn a_flag_that_is_neither_true_nor_false_is_refused() {
    for key in ["ss_v_parameterization", "ss_zero_terminal_snr"] {
        let message = MarkedModel::new((&[], &[(key, "maybe")]), &json!({})).refusal();
        for part in ["marked.safetensors", key, "maybe", "neither True nor False"] {
            assert!(message.contains(part), "{part:?} in {message}");
        }
    }
    let message = MarkedModel::new((&[], &[("ss_flow_model", "True")]), &json!({})).refusal();
    assert!(message.contains("ss_flow_model") && message.contains("flow matching"), "{message}");
}

#[test]
fn a_file_without_zero_terminal_snr_overrules_the_configuration() {
    let rescaled = json!({ "prediction_type": "v_prediction", "rescale_betas_zero_snr": true });
    let expected = by_hand(&json!({ "prediction_type": "v_prediction", "rescale_betas_zero_snr": false }));
    assert!(expected != by_hand(&rescaled), "rescaling makes a difference");
    let checkpoint = MarkedModel::new((&[], &[("ss_zero_terminal_snr", "False")]), &rescaled);
    let (own, log) = logged(|| checkpoint.load());
    assert!(picture(&own) == expected);
    assert!(log.iter().any(|line| line.contains("ss_zero_terminal_snr")), "{log:?}");
}

#[test]
fn a_file_of_another_model_is_refused_by_name() {
    for (architecture, part) in [
        ("stable-diffusion-v1", "not supported"),
        ("stable-diffusion-v2-768-v", "not supported"),
        ("stable-diffusion-3-medium", "not supported"),
        ("Flux-1-dev", "not supported"),
        ("lumina-2", "not supported"),
        ("stable-diffusion-xl-v1-edit", "an editing model"),
        ("stable-diffusion-xl-v1-base/lora", "--lora-dir"),
        ("stable-diffusion-xl-v1-base/control-lora", "not a checkpoint"),
    ] {
        let marks: Marks<'_> = (&[], &[("modelspec.architecture", architecture)]);
        let message = MarkedModel::new(marks, &json!({})).refusal();
        for part in ["marked.safetensors", "modelspec.architecture", &architecture.to_lowercase(), part] {
            assert!(message.contains(part), "{part:?} in {message}");
        }
    }
    // For an unknown architecture the tensors decide.
    for architecture in ["stable-diffusion-xl-v1-base", "SDXL", "Illustrious special edition"] {
        MarkedModel::new((&[], &[("modelspec.architecture", architecture)]), &json!({})).load();
    }
}

#[test]
fn a_tensor_has_precedence_over_metadata() {
    let expected = by_hand(&json!({ "prediction_type": "v_prediction" }));
    let marks: Marks<'_> = (&[V_PRED], &[("modelspec.prediction_type", "epsilon")]);
    let (own, log) = logged(|| MarkedModel::new(marks, &json!({})).load());
    assert!(picture(&own) == expected);
    let named = |line: &&String| line.contains("modelspec.prediction_type") && line.contains("v_pred");
    assert!(log.iter().any(|line| named(&line) && line.starts_with("WARN")), "{log:?}");
}

#[test]
fn the_configuration_decides_contradicting_metadata() {
    let marks: Marks<'_> = (&[], &[("modelspec.prediction_type", "v"), ("modelspec.predict_key", "epsilon")]);
    for prediction in ["v_prediction", "epsilon"] {
        let scheduler = json!({ "prediction_type": prediction });
        let (own, log) = logged(|| MarkedModel::new(marks, &scheduler).load());
        assert!(picture(&own) == by_hand(&scheduler), "{prediction}");
        assert!(log.iter().any(|line| line.contains("modelspec.predict_key")), "{log:?}");
    }
    let silent = MarkedModel::new(marks, &json!({ "prediction_type": null }));
    let built_in = LoadOptions { config: None, ..silent.options() };
    let refusals = [silent.options(), built_in]
        .map(|options| SdxlPipeline::load(options).expect_err("refused").to_string());
    for message in refusals {
        for part in ["marked.safetensors", "modelspec.prediction_type", "modelspec.predict_key", "--config"] {
            assert!(message.contains(part), "{part:?} in {message}");
        }
    }
}

#[test]
fn a_mark_that_changes_the_configuration_is_logged() {
    let checkpoint = MarkedModel::new((&[V_PRED, ZERO_SNR], &[]), &json!({}));
    let (_, log) = logged(|| checkpoint.load());
    for key in ["prediction_type", "rescale_betas_zero_snr", "timestep_spacing"] {
        let lines: Vec<_> = log.iter().filter(|line| line.contains(key)).collect();
        assert_eq!(lines.len(), 1, "{key}: {log:?}");
        for part in ["WARN", "marked.safetensors", "scheduler_config.json"] {
            assert!(lines[0].contains(part), "{part:?} in {lines:?}");
        }
    }
    let agreed = json!({
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": true, "timestep_spacing": "trailing",
    });
    let checkpoint = MarkedModel::new((&[V_PRED, ZERO_SNR], &[]), &agreed);
    let (_, log) = logged(|| checkpoint.load());
    assert!(!log.iter().any(|line| line.contains("is read as")), "{log:?}");
}

#[test]
fn marks_in_a_folders_unet_are_used() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&parity().join("model"), folder.path(), &|_| true);
    copy(&parity().join("taesdxl"), &folder.path().join("taesd"), &|_| true);
    let load = || SdxlPipeline::load(LoadOptions::cpu(folder.path()));
    let config = folder.path().join("scheduler/scheduler_config.json");
    change(&config, &json!({ "prediction_type": "v_prediction" }));
    let expected = picture(&load().unwrap_or_else(|e| panic!("{e}")));
    change(&config, &json!({ "prediction_type": "epsilon" }));
    let unet = "unet/diffusion_pytorch_model.safetensors";
    mark(&parity().join("model").join(unet), &folder.path().join(unet), &[V_PRED], &[]);
    assert!(picture(&load().unwrap_or_else(|e| panic!("{e}"))) == expected);
    let edm = ("edm_vpred.sigma_max", Dtype::F32, &[][..]);
    mark(&parity().join("model").join(unet), &folder.path().join(unet), &[edm], &[]);
    let message = load().expect_err("refused").to_string();
    assert!(message.contains("edm_vpred.sigma_max") && message.contains("CosXL"), "{message}");
}
