//! LoRAs per job: a LoRA that does not fit is refused by name, and a job's LoRAs do not affect other jobs.

#[cfg(test)]
#[path = "support/pipeline.rs"]
mod fixture;
#[cfg(test)]
mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use fixture::pipeline;
use glimpse_worker::pipeline::{Inputs, LoadOptions, LoraChoice, Pipeline, PipelineError, SdxlPipeline};
use support::parity;
use tempfile::TempDir;

#[cfg(test)]
fn fixture(name: &str) -> PathBuf {
    parity().join("variants").join(name)
}

#[cfg(test)]
fn with(loras: &[(&Path, f64)]) -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 2;
    inputs.loras = loras.iter().map(|(path, scale)| LoraChoice::file(*path, *scale)).collect();
    inputs
}

#[cfg(test)]
fn latents(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<f32> {
    let mut denoising = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    for _ in 0..2 {
        pipeline.step(&mut [&mut denoising]).expect("steps");
    }
    denoising.latents().flatten_all().and_then(|t| t.to_vec1()).expect("numbers")
}

/// A copy of a fixture with changed tensors.
#[cfg(test)]
fn changed(name: &str, change: impl FnOnce(&mut HashMap<String, Tensor>)) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut all = candle_core::safetensors::load(fixture(name), &Device::Cpu).expect("tensors");
    change(&mut all);
    let copy = folder.path().join(name);
    candle_core::safetensors::save(&all, &copy).expect("saved");
    (folder, copy)
}

#[cfg(test)]
fn refusal(pipeline: &SdxlPipeline, inputs: &Inputs) -> String {
    match pipeline.begin(inputs) {
        Err(PipelineError::BadRequest { field: "loras", message }) => message,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn a_job_without_loras_has_the_checkpoints_own_weights() {
    let pipeline = pipeline();
    let file = fixture("kohya_sgm.safetensors");
    let plain = latents(&pipeline, &with(&[]));
    let changed = latents(&pipeline, &with(&[(&file, 1.0)]));
    assert!(changed != plain, "the LoRA has an effect");
    assert!(latents(&pipeline, &with(&[])) == plain, "left over after a job");
    assert!(latents(&pipeline, &with(&[(&file, 1.0)])) == changed, "the same again");

    // Also after a job whose LoRAs were refused.
    refusal(&pipeline, &with(&[(&file, 1.0), (Path::new("nowhere.safetensors"), 1.0)]));
    assert!(latents(&pipeline, &with(&[])) == plain, "left over after a refusal");
}

#[test]
fn jobs_with_different_loras_are_computed_separately() {
    let pipeline = pipeline();
    let (kohya, peft) = (fixture("kohya_sgm.safetensors"), fixture("peft.safetensors"));
    let wishes =
        [with(&[]), with(&[(&kohya, 1.0)]), with(&[(&kohya, 0.5)]), with(&[(&kohya, 1.0), (&peft, 1.0)])];
    let alone = wishes.each_ref().map(|inputs| latents(&pipeline, inputs));
    let mut jobs = wishes.each_ref().map(|inputs| pipeline.begin(inputs).expect("begins"));
    for _ in 0..2 {
        pipeline.step(&mut jobs.each_mut()).expect("steps");
    }
    for (i, (job, alone)) in jobs.iter().zip(&alone).enumerate() {
        let together: Vec<f32> = job.latents().flatten_all().and_then(|t| t.to_vec1()).expect("numbers");
        assert!(together == *alone, "job {i}");
    }
}

#[test]
fn a_scale_of_0_changes_nothing_and_a_changed_file_is_read_again() {
    let pipeline = pipeline();
    let plain = latents(&pipeline, &with(&[]));
    let (_folder, copy) = changed("peft.safetensors", |_| ());
    assert!(latents(&pipeline, &with(&[(&copy, 0.0)])) == plain);
    let before = latents(&pipeline, &with(&[(&copy, 1.0)]));
    std::fs::copy(fixture("kohya_sgm.safetensors"), &copy).expect("copied");
    assert!(latents(&pipeline, &with(&[(&copy, 1.0)])) != before);
}

#[test]
fn the_alpha_in_diffusers_metadata_is_used() {
    let pipeline = pipeline();
    let plain = fixture("peft.safetensors");
    let all = candle_core::safetensors::load(&plain, &Device::Cpu).expect("tensors");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scaled.safetensors");
    let save = |settings: &str| {
        let metadata = HashMap::from([("lora_adapter_metadata".to_owned(), settings.to_owned())]);
        safetensors::serialize_to_file(&all, Some(metadata), &file).expect("saved");
    };
    // The rank is 2: an alpha of 1 is a scale of 0.5.
    save(
        r#"{"unet.lora_alpha": 1, "text_encoder.lora_alpha": 1, "text_encoder_2.lora_alpha": 1, "unet.r": 2}"#,
    );
    let half = latents(&pipeline, &with(&[(&file, 1.0)]));
    assert!(half == latents(&pipeline, &with(&[(&plain, 0.5)])));
    // Numbers and booleans in strings are read.
    save(
        r#"{"unet.lora_alpha": "1", "text_encoder.lora_alpha": " 1.0", "text_encoder_2.lora_alpha": "1e0",
            "unet.use_rslora": "False", "unet.use_dora": "false", "text_encoder.alpha_pattern": null}"#,
    );
    assert!(half == latents(&pipeline, &with(&[(&file, 1.0)])));
    save(r#"{"unet.lora_alpha": 2, "unet.use_rslora": true}"#);
    let root = latents(&pipeline, &with(&[(&file, 1.0)]));
    save(r#"{"unet.lora_alpha": "2", "unet.use_rslora": "True"}"#);
    assert!(root == latents(&pipeline, &with(&[(&file, 1.0)])));
    // A name with ^ in front is a whole name.
    save(r#"{"unet.lora_alpha": 1, "unet.alpha_pattern": {"^mid_block.attentions.0.proj_in": 2}}"#);
    let one = latents(&pipeline, &with(&[(&file, 1.0)]));
    save(r#"{"unet.lora_alpha": 1, "unet.alpha_pattern": {"mid_block.attentions.0.proj_in": "2"}}"#);
    assert!(one == latents(&pipeline, &with(&[(&file, 1.0)])));
    save(r#"{"unet.lora_alpha": 1, "unet.alpha_pattern": {"^proj_in": 2}}"#);
    assert!(one != latents(&pipeline, &with(&[(&file, 1.0)])));
    for (settings, expected) in [
        (r#"{"unet.use_dora": true}"#, "of the unet has no lora_magnitude_vector"),
        (r#"{"unet.use_dora": "True"}"#, "of the unet has no lora_magnitude_vector"),
        (r#"{"unet.lora_alpha": [2]}"#, "unet.lora_alpha is [2], and should be a finite number"),
        (r#"{"text_encoder_2.lora_alpha": "x"}"#, "text_encoder_2.lora_alpha is \"x\""),
        (r#"{"unet.lora_alpha": NaN}"#, "unet.lora_alpha is \"NaN\""),
        (r#"{"unet.alpha_pattern": [1]}"#, "unet.alpha_pattern is [1], and should be a JSON object"),
        (r#"{"unet.alpha_pattern": {"to_q": "x"}}"#, "unet.alpha_pattern.to_q is \"x\""),
        (r#"{"unet.alpha_pattern": {"to_[qk]": 1}}"#, "unet.alpha_pattern.to_[qk] is a regular expression"),
        (r#"{"unet.use_rslora": "maybe"}"#, "unet.use_rslora is \"maybe\", and should be true or false"),
        ("[]", "lora_adapter_metadata is [], and should be a JSON object"),
    ] {
        save(settings);
        let message = refusal(&pipeline, &with(&[(&file, 1.0)]));
        assert!(message.starts_with("scaled.safetensors: ") && message.contains(expected), "{message}");
    }
}

#[test]
fn a_lora_that_does_not_fit_is_refused_by_name() {
    let pipeline = pipeline();
    let refused = |name: &str, change: &dyn Fn(&mut HashMap<String, Tensor>)| {
        let (folder, file) = changed(name, change);
        let message = refusal(&pipeline, &with(&[(&file, 1.0)]));
        let place = folder.path().to_string_lossy().into_owned();
        assert!(message.starts_with(name) && !message.contains(&place), "{message}");
        message
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("zeros");
    let pair = |all: &mut HashMap<String, Tensor>, module: &str, (outputs, inputs): (usize, usize)| {
        all.insert(format!("{module}.lora_A.weight"), zeros(&[2, inputs]));
        all.insert(format!("{module}.lora_B.weight"), zeros(&[outputs, 2]));
    };
    let missing =
        refused("peft.safetensors", &|all| pair(all, "unet.down_blocks.7.attentions.0.proj_in", (4, 4)));
    assert!(missing.contains("the unet has no module down_blocks.7.attentions.0.proj_in"), "{missing}");
    let other =
        refused("peft.safetensors", &|all| pair(all, "unet.mid_block.attentions.0.proj_in", (640, 640)));
    assert!(other.contains("mid_block.attentions.0.proj_in") && other.contains("another shape"), "{other}");
    let half = refused("kohya_sgm.safetensors", &|all| {
        all.retain(|name, _| name != "lora_unet_middle_block_1_proj_in.lora_up.weight");
    });
    assert!(half.contains("middle_block_1_proj_in of the unet has no lora_up"), "{half}");
    let kind = refused("kohya_sgm.safetensors", &|all| {
        all.insert("lora_unet_middle_block_1_proj_in.hada_w1_a".into(), zeros(&[1, 1]));
    });
    assert!(kind.contains("middle_block_1_proj_in of the unet has no hada_w1_b"), "{kind}");
    let none = refused("peft.safetensors", &|all| all.clear());
    assert!(none.contains("no tensors"), "{none}");

    let message = refusal(&pipeline, &with(&[(Path::new("/secret/place/x.safetensors"), 1.0)]));
    assert_eq!(message, "x.safetensors: not found");
    let folder = tempfile::tempdir().expect("a folder");
    let message = refusal(&pipeline, &with(&[(folder.path(), 1.0)]));
    assert!(message.contains(": is a folder, not a file"), "{message}");
    let long = refused("peft.safetensors", &|all| {
        all.insert("x".repeat(50_000), zeros(&[1, 1]));
    });
    assert!(long.len() < 400 && long.contains("x… is not supported"), "{long}");
    let message = refusal(&pipeline, &with(&[(&fixture("peft.safetensors"), f64::NAN)]));
    assert!(message.contains("finite"), "{message}");
}

#[test]
fn a_truncated_lora_is_named() {
    let pipeline = pipeline();
    let whole = std::fs::read(fixture("peft.safetensors")).expect("a file");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cut.safetensors");
    std::fs::write(&file, &whole[..whole.len() - 10]).expect("written");
    let message = refusal(&pipeline, &with(&[(&file, 1.0)]));
    assert!(message.starts_with("cut.safetensors") && message.contains("cut?"), "{message}");
}

#[cfg(test)]
fn half() -> SdxlPipeline {
    let options = LoadOptions {
        taesd: Some(parity().join("taesdxl")),
        dtype: DType::F16,
        ..LoadOptions::cpu(parity().join("model"))
    };
    SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn several_loras_are_summed_in_float32_and_rounded_once() {
    let pipeline = half();
    let plain = latents(&pipeline, &with(&[]));
    let (kohya, peft) = (fixture("kohya_sgm.safetensors"), fixture("peft.safetensors"));
    // A LoRA plus its opposite is exactly zero, unless the sum is rounded in between.
    let none = with(&[(&kohya, 1.0), (&peft, 0.5), (&kohya, -1.0), (&peft, -0.5)]);
    assert!(latents(&pipeline, &none) == plain, "a LoRA and its opposite");
    let whole = latents(&pipeline, &with(&[(&kohya, 1.0)]));
    assert!(whole != plain, "it has an effect");
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_file_and_tensor() {
    let pipeline = pipeline();
    let plain = latents(&pipeline, &with(&[]));
    for name in [
        "lora_unet_middle_block_1_proj_in.lora_up.weight",
        "lora_unet_middle_block_1_proj_in.lora_down.weight",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight",
    ] {
        for (dtype, number) in
            [(DType::F32, f32::NAN), (DType::F32, f32::INFINITY), (DType::F16, 1e6), (DType::BF16, -f32::NAN)]
        {
            let (_folder, file) = changed("kohya_sgm.safetensors", |all| {
                // Only the last number.
                let old = all[name].flatten_all().and_then(|t| t.to_dtype(DType::F32)).expect("numbers");
                let mut numbers = old.to_vec1::<f32>().expect("numbers");
                *numbers.last_mut().expect("a number") = number;
                let new = Tensor::from_vec(numbers, all[name].shape(), &Device::Cpu);
                all.insert(name.into(), new.and_then(|t| t.to_dtype(dtype)).expect("numbers"));
            });
            let message = refusal(&pipeline, &with(&[(&fixture("peft.safetensors"), 1.0), (&file, 0.0)]));
            let expected = format!("kohya_sgm.safetensors: {name} has numbers that are not finite");
            assert!(message.starts_with(&expected), "{message}");
        }
    }
    assert!(latents(&pipeline, &with(&[])) == plain, "left over after a refusal");
}

#[test]
fn a_product_that_is_not_finite_is_refused_by_file_and_module() {
    let full = pipeline();
    let kohya = fixture("kohya_sgm.safetensors");
    let (_folder, huge) = changed("peft.safetensors", |all| {
        let name = "unet.mid_block.attentions.0.proj_in.lora_A.weight";
        let large = (all[name].ones_like().expect("ones") * 3e38).expect("numbers");
        all.insert(name.into(), large);
    });
    // Each factor is finite in float32, but the product is not.
    let message = refusal(&full, &with(&[(&kohya, 1.0), (&huge, 1000.0)]));
    assert!(message.starts_with("peft.safetensors: "), "{message}");
    assert!(message.contains("mid_block.attentions.0.proj_in of the unet"), "{message}");

    // Finite in float32, but beyond the range of float16.
    let half = half();
    let plain = latents(&half, &with(&[]));
    let large = with(&[(&kohya, 1e6)]);
    assert!(full.begin(&large).is_ok());
    let message = refusal(&half, &large);
    assert!(message.starts_with("kohya_sgm.safetensors: ") && message.contains("f16"), "{message}");
    assert!(latents(&half, &with(&[])) == plain, "left over after a refusal");
}

#[test]
fn weights_that_are_too_large_for_the_model_are_refused_by_file_at_the_step_that_shows_it() {
    let pipeline = pipeline();
    let plain = latents(&pipeline, &with(&[]));
    // Finite weights, but not the numbers that the network computes with them.
    let large = with(&[(&fixture("peft.safetensors"), 0.5), (&fixture("kohya_sgm.safetensors"), 1e30)]);
    let mut denoising = pipeline.begin(&large).unwrap_or_else(|e| panic!("{e}"));
    match pipeline.step(&mut [&mut denoising]) {
        Err(PipelineError::BadRequest { field: "loras", message }) => {
            for part in ["peft.safetensors", "kohya_sgm.safetensors", "step 0", "smaller scale"] {
                assert!(message.contains(part), "{part:?} in {message}");
            }
        }
        other => panic!("{other:?}"),
    }
    assert!(latents(&pipeline, &with(&[])) == plain, "left over after a refusal");
}

#[test]
fn an_error_has_the_name_of_the_lora_in_the_request() {
    let pipeline = pipeline();
    let (_folder, path) = changed("peft.safetensors", |all| all.clear());
    let mut inputs = with(&[]);
    inputs.loras = vec![LoraChoice { name: "styles/ink".into(), ..LoraChoice::file(path, 1.0) }];
    assert_eq!(refusal(&pipeline, &inputs), "styles/ink: no tensors");
}
