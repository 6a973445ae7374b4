//! Compares whole requests with diffusers.

#[cfg(test)]
#[path = "golden/controlnets.rs"]
mod controlnets;
#[cfg(test)]
#[path = "support/folders.rs"]
mod folders;
#[cfg(test)]
mod golden;
#[cfg(test)]
#[path = "support/marked.rs"]
mod marked;
#[cfg(test)]
#[path = "support/parts.rs"]
mod parts;
#[cfg(test)]
#[path = "golden/parts.rs"]
mod parts_cases;
#[cfg(test)]
mod support;

use std::collections::HashMap;
use std::path::Path;

use candle_core::DType;
use folders::copy;
use glimpse_worker::pipeline::{LoadOptions, Pipeline, SdxlPipeline};
use golden::{check, check_changed};
use marked::mark;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};
use support::parity;

#[cfg(test)]
fn model() -> LoadOptions {
    LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(parity().join("model")) }
}

macro_rules! cases {
    ($folder:literal: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(&parity().join($folder), stringify!($name), model());
        })*
    };
}

cases! { "":
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

cases! { "variants":
    lora_kohya_sgm
    lora_kohya_diffusers
    lora_peft
    lora_two
    no_lora_after_lora
    inpaint_euler6_s07
    inpaint_eulera4_s1
}

cases! { "prompts":
    emphasis
    breaks
    commas
    negative_is_longer
    long_prompt
}

cases! { "embeddings":
    one_vector
    several_vectors
    two_embeddings
    with_lora
    one_encoder
    truncated
    several_tokens
    other_case
    a1111
    a1111_not_cut
}

/// Newer configurations name the end token. Then the pooled embedding does not depend on the ids of other tokens.
#[test]
fn the_end_token_is_found_by_its_id_if_the_configuration_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&parity().join("model"), folder.path(), &|_| true);
    for encoder in ["text_encoder", "text_encoder_2"] {
        let file = folder.path().join(encoder).join("config.json");
        let text = std::fs::read_to_string(&file).expect("a configuration");
        let mut config: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        config.insert("eos_token_id".into(), json!(999));
        std::fs::write(&file, Value::Object(config).to_string()).expect("written");
    }
    let options = LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(folder.path()) };
    check(&parity().join("embeddings"), "eos_token", options);
}

/// The vectors are rounded to float16 as the table of the text encoder is.
#[test]
fn embeddings_in_half_precision_cost_no_more_than_it_costs_diffusers() {
    for name in ["several_vectors", "two_embeddings"] {
        check(&parity().join("embeddings"), name, LoadOptions { dtype: DType::F16, ..model() });
    }
}

cases! { "samplers":
    deis5_karras
    pndm5
    lms6_v
    tcd4_eta
    euler4_sigmas
    dmd4_timesteps
    ddpm5
}

/// A model as Playground v2.5 and CosXL: its own sampler is one of EDM, and its latents are normalised.
#[test]
fn a_model_of_edm_gives_the_numbers_of_diffusers() {
    for (name, class, others) in [
        ("edm5_normalised", "EDMDPMSolverMultistepScheduler", json!({})),
        ("edm4_img2img", "EDMEulerScheduler", json!({ "prediction_type": "v_prediction" })),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        copy(&parity().join("model"), folder.path(), &|_| true);
        let set = |file: &str, changes: Value| {
            let file = folder.path().join(file);
            let text = std::fs::read_to_string(&file).expect("a configuration");
            let mut config: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
            config.extend(changes.as_object().expect("an object").clone());
            std::fs::write(&file, Value::Object(config).to_string()).expect("written");
        };
        set("scheduler/scheduler_config.json", json!({ "_class_name": class }));
        set("scheduler/scheduler_config.json", others);
        set(
            "vae/config.json",
            json!({
                "latents_mean": [-0.4, 0.2, 0.3, -0.1], "latents_std": [1.5, 0.8, 1.2, 0.9], "scaling_factor": 0.5,
            }),
        );
        let options =
            LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(folder.path()) };
        let described = SdxlPipeline::load(options.clone()).expect("loads").describe();
        assert_eq!(described.schedulers, ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"]);
        check_changed(&parity().join("samplers"), name, options, |inputs| inputs.scheduler = None);
    }
}

cases! { "controlnets":
    control_one
    control_two
    control_img2img
    control_inpaint
    control_heun
    control_unguided
    control_batch2
    control_fp16weights
    control_resized
    control_union
    control_union_two
    control_union_img2img
    control_end
}

/// The same ControlNet in one file without a configuration, with diffusers' names and with SGM's.
#[test]
fn a_controlnet_in_one_file_gives_the_numbers_of_its_folder() {
    let folder = parity().join("controlnets");
    let weights = folder.join("edges/diffusion_pytorch_model.fp16.safetensors");
    let names: HashMap<String, String> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("sgm_names.json")).expect("the names"))
            .expect("JSON");
    let plain = |name: &str| name.to_owned();
    let sgm = |name: &str| names[name].clone();
    let prefixed = |name: &str| format!("control_model.{}", names[name]);
    let namings: [&dyn Fn(&str) -> String; 3] = [&plain, &sgm, &prefixed];
    for naming in namings {
        let file = tempfile::Builder::new().suffix(".safetensors").tempfile().expect("a file");
        renamed(&weights, file.path(), naming);
        check_changed(&folder, "control_one", model(), |inputs| {
            inputs.controlnets[0].path = file.path().to_owned();
        });
    }
}

/// Writes the tensors of a file under other names.
#[cfg(test)]
fn renamed(from: &Path, to: &Path, name: &dyn Fn(&str) -> String) {
    let bytes = std::fs::read(from).expect("weights");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let views = tensors.iter().map(|(old, view)| (name(old), view));
    safetensors::serialize_to_file(views, None, to).expect("written");
}

cases! { "loras":
    forms_dora
    forms_mixed
}

/// The same weights in a file with SGM's names, and TAESD in its original file.
#[test]
fn a_single_file_gives_the_numbers_of_its_folder() {
    let variants = parity().join("variants");
    let options = LoadOptions {
        config: Some(parity().join("model")),
        taesd: Some(variants.join("taesdxl")),
        ..LoadOptions::cpu(variants.join("model.safetensors"))
    };
    check(&parity(), "euler4_fp16weights", options);
}

/// v prediction, rescaled betas and trailing steps, from the marks of a weight file.
#[test]
fn a_marked_model_gives_the_numbers_of_diffusers() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&parity().join("model"), folder.path(), &|_| true);
    let nothing: &[usize] = &[0];
    let marks = ["v_pred", "ztsnr"].map(|name| (name, Dtype::F32, nothing));
    let unet = "unet/diffusion_pytorch_model.safetensors";
    mark(&parity().join("model").join(unet), &folder.path().join(unet), &marks, &[]);
    let options = LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(folder.path()) };
    check_changed(&parity(), "extra_euler4_vpred_zsnr", options, |inputs| inputs.scheduler = None);
}

#[test]
fn half_precision_costs_no_more_than_it_costs_diffusers() {
    for dtype in [DType::F16, DType::BF16] {
        for name in
            ["euler20_cfg5", "ddim10_cfg5", "dpmpp2m_karras20_cfg75", "unipc8_cfg5", "euler1_nocfg_unicode"]
        {
            check(&parity(), name, LoadOptions { dtype, ..model() });
        }
    }
    check(&parity().join("controlnets"), "control_one", LoadOptions { dtype: DType::F16, ..model() });
}
