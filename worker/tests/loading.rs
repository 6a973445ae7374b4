//! The load of a wrong checkpoint fails, and the error names the file and the key or tensor.

#[cfg(test)]
#[path = "support/picture.rs"]
mod picture;
#[cfg(test)]
mod support;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use glimpse_worker::pipeline::{Inputs, LoadOptions, Pipeline, PipelineError, SdxlPipeline, parse_device};
use glimpse_worker::sdxl::LoadError;
use picture::picture;
use serde_json::{Value, json};
use support::parity;
use tempfile::TempDir;

/// A copy of the fixtures' checkpoint, which a test may damage.
#[cfg(test)]
fn checkpoint() -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder").flatten() {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).expect("copied");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    copy(&parity().join("model"), folder.path());
    copy(&parity().join("taesdxl"), &folder.path().join("taesd"));
    folder
}

#[cfg(test)]
fn load(folder: &Path) -> Result<SdxlPipeline, LoadError> {
    SdxlPipeline::load(LoadOptions::cpu(folder))
}

#[cfg(test)]
fn complaint(folder: &Path) -> String {
    load(folder).expect_err("a damaged checkpoint").to_string()
}

/// Replaces one key of a JSON file.
#[cfg(test)]
fn set(path: &Path, key: &str, value: Value) {
    let mut json: Value = serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON");
    json[key] = value;
    fs::write(path, json.to_string()).expect("written");
}

/// Splits a file into two shards.
#[cfg(test)]
fn shard(folder: &Path, stem: &str, kind: &str) {
    let single = folder.join(format!("{stem}{kind}.safetensors"));
    let mut all: Vec<_> =
        candle_core::safetensors::load(&single, &Device::Cpu).expect("tensors").into_iter().collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let second = all.split_off(all.len() / 2);
    let mut map = serde_json::Map::new();
    for (number, part) in [all, second].into_iter().enumerate() {
        let name = format!("{stem}{kind}-0000{}-of-00002.safetensors", number + 1);
        map.extend(part.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
        let part: HashMap<String, Tensor> = part.into_iter().collect();
        candle_core::safetensors::save(&part, folder.join(name)).expect("saved");
    }
    let index = folder.join(format!("{stem}.safetensors.index{kind}.json"));
    fs::write(index, json!({"metadata": {}, "weight_map": map}).to_string()).expect("written");
    fs::remove_file(single).expect("removed");
}

#[test]
fn tokenizers_must_have_the_same_length() {
    let folder = checkpoint();
    set(&folder.path().join("tokenizer_2/tokenizer_config.json"), "model_max_length", 16.into());
    let complaint = complaint(folder.path());
    assert!(complaint.contains("tokenizer_2/tokenizer_config.json"), "{complaint}");
    assert!(complaint.contains("is 16, but that of the first tokenizer is 77"), "{complaint}");
}

#[test]
fn shards_and_half_precision_files_are_found() {
    let folder = checkpoint();
    let path = folder.path();
    let whole = picture(&load(path).expect("loads"));
    shard(&path.join("unet"), "diffusion_pytorch_model", "");
    shard(&path.join("text_encoder_2"), "model", "");
    assert_eq!(picture(&load(path).expect("loads")), whole, "sharded");

    // Without float32 files the float16 files are read, whole or sharded.
    for name in ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"] {
        let _ = fs::remove_file(path.join(format!("{name}.safetensors")));
        let _ = fs::remove_file(path.join(format!("{name}.safetensors.index.json")));
    }
    shard(&path.join("unet"), "diffusion_pytorch_model", ".fp16");
    assert_ne!(picture(&load(path).expect("loads")), whole, "half precision");
}

#[test]
fn missing_unexpected_and_mismatched_tensors_are_listed_together() {
    let folder = checkpoint();
    let file = folder.path().join("unet/diffusion_pytorch_model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).expect("tensors");
    let bias = tensors.remove("conv_in.bias").expect("there");
    tensors.insert("conv_in.blas".into(), bias);
    let weight = tensors["conv_out.weight"].narrow(0, 0, 2).expect("two rows");
    tensors.insert("conv_out.weight".into(), weight.contiguous().expect("two rows"));
    candle_core::safetensors::save(&tensors, &file).expect("saved");
    let complaint = complaint(folder.path());
    for part in [
        "unet/diffusion_pytorch_model.safetensors",
        "missing conv_in.bias",
        "unexpected conv_in.blas",
        "conv_out.weight should be [4, 12, 3, 3] and is [2, 12, 3, 3]",
    ] {
        assert!(complaint.contains(part), "{part:?} in {complaint}");
    }
}

#[test]
fn weights_that_are_not_finite_are_named() {
    for (file, name) in [
        ("text_encoder/model.safetensors", "text_model.encoder.layers.0.mlp.fc1.weight"),
        ("text_encoder_2/model.safetensors", "text_projection.weight"),
        ("unet/diffusion_pytorch_model.safetensors", "conv_norm_out.weight"),
        ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.bias"),
        ("taesd/diffusion_pytorch_model.safetensors", "decoder.layers.0.weight"),
    ] {
        for number in [f32::NAN, f32::NEG_INFINITY] {
            let folder = checkpoint();
            let path = folder.path().join(file);
            let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("tensors");
            let shape = tensors[name].shape().clone();
            let mut numbers = tensors[name].flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("numbers");
            numbers[1] = number;
            tensors.insert(name.into(), Tensor::from_vec(numbers, shape, &Device::Cpu).expect("numbers"));
            candle_core::safetensors::save(&tensors, &path).expect("saved");
            let complaint = complaint(folder.path());
            let expected = format!("some tensors cannot be used; {name} has numbers that are not finite");
            assert!(complaint.contains(file) && complaint.contains(&expected), "{complaint}");
        }
    }
}

/// A UNet with finite weights whose output overflows float16.
#[cfg(test)]
fn overflowing() -> TempDir {
    let folder = checkpoint();
    let path = folder.path().join("unet/diffusion_pytorch_model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("tensors");
    let large = (tensors["conv_out.bias"].ones_like().expect("ones") * 6e4).expect("numbers");
    tensors.insert("conv_out.bias".into(), large);
    let weight = (tensors["conv_out.weight"].ones_like().expect("ones") * 6e4).expect("numbers");
    tensors.insert("conv_out.weight".into(), weight);
    candle_core::safetensors::save(&tensors, &path).expect("saved");
    folder
}

#[test]
fn a_model_that_cannot_make_a_picture_is_refused_by_its_warm_up() {
    let folder = overflowing();
    let pipeline = SdxlPipeline::load(LoadOptions { dtype: DType::F16, ..LoadOptions::cpu(folder.path()) });
    let error = pipeline.expect("loads").warm().expect_err("not finite");
    assert!(error.to_string().contains("not finite"), "{error}");
}

#[test]
fn a_warm_up_on_a_cpu_is_a_small_picture() {
    let folder = checkpoint();
    // A picture of the model's own size would be too large.
    set(&folder.path().join("unet/config.json"), "sample_size", 4096.into());
    load(folder.path()).expect("loads").warm().expect("a picture");
}

#[test]
fn a_truncated_file_is_named() {
    let folder = checkpoint();
    let file = folder.path().join("vae/diffusion_pytorch_model.safetensors");
    let bytes = fs::read(&file).expect("a file");
    fs::write(&file, &bytes[..bytes.len() - 100]).expect("written");
    let complaint = complaint(folder.path());
    assert!(
        complaint.contains("vae/diffusion_pytorch_model.safetensors") && complaint.contains("cut"),
        "{complaint}"
    );
}

#[test]
fn missing_parts_are_named() {
    for part in [
        "model_index.json",
        "taesd",
        "tokenizer_2/merges.txt",
        "unet/config.json",
        "scheduler/scheduler_config.json",
    ] {
        let folder = checkpoint();
        let path = folder.path().join(part);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
        let complaint = complaint(folder.path());
        assert!(complaint.contains(part) && complaint.contains("not found"), "{complaint}");
    }
}

#[test]
fn the_metadata_of_every_shard_is_read() {
    let folder = checkpoint();
    let unet = folder.path().join("unet");
    shard(&unet, "diffusion_pytorch_model", "");
    let put = |number: usize, entries: &[(&str, &str)]| {
        let path = unet.join(format!("diffusion_pytorch_model-0000{number}-of-00002.safetensors"));
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("tensors");
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        safetensors::serialize_to_file(&tensors, Some(entries), &path).expect("saved");
    };
    put(2, &[("modelspec.architecture", "flux-1-dev")]);
    assert!(complaint(folder.path()).contains("flux-1-dev"));
    // The first one counts.
    put(1, &[("modelspec.architecture", "stable-diffusion-xl-v1-base")]);
    load(folder.path()).expect("loads");
}

#[test]
fn a_folder_without_its_weight_file_names_what_it_has() {
    for (name, expected) in [
        ("diffusion_pytorch_model.bin", "only diffusion_pytorch_model.bin, a PyTorch pickle"),
        ("pytorch_model.ckpt", "only pytorch_model.ckpt, a PyTorch pickle"),
        ("model.safetensors", "no diffusion_pytorch_model.safetensors, but model.safetensors: "),
    ] {
        let folder = checkpoint();
        let unet = folder.path().join("unet");
        fs::remove_file(unet.join("diffusion_pytorch_model.fp16.safetensors")).expect("removed");
        fs::rename(unet.join("diffusion_pytorch_model.safetensors"), unet.join(name)).expect("renamed");
        let complaint = complaint(folder.path());
        assert!(complaint.contains("/unet: has no ") && complaint.contains(expected), "{complaint}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let folder = checkpoint();
    for file in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
    ] {
        let path = folder.path().join(file);
        let text = fs::read_to_string(&path).expect("a file");
        fs::write(&path, format!("\u{feff}{text}")).expect("written");
    }
    load(folder.path()).expect("loads");
}

#[test]
fn configurations_that_are_something_else_are_named() {
    for (file, bytes, expected) in [
        ("unet/config.json", &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..], "Git LFS"),
        ("model_index.json", b"<!DOCTYPE html><html>", "web page"),
        ("model_index.json", b"Entry not found", "begins with the text \"Entry not found\""),
        ("vae/config.json", b"", "empty"),
        ("scheduler/scheduler_config.json", b"{\"a\": \"\xff\"}", "not UTF-8"),
        ("tokenizer/merges.txt", b"<!DOCTYPE html><html>", "web page"),
        ("tokenizer/vocab.json", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ] {
        let folder = checkpoint();
        fs::write(folder.path().join(file), bytes).expect("written");
        let complaint = complaint(folder.path());
        assert!(complaint.contains(file) && complaint.contains(expected), "{complaint}");
    }
}

#[test]
fn options_that_name_the_wrong_thing_say_what_it_is() {
    let folder = checkpoint();
    let at = |path: &str| folder.path().join(path);
    let options = || LoadOptions::cpu(folder.path());
    let unet = at("unet/diffusion_pytorch_model.safetensors");
    for (options, expected) in [
        (LoadOptions { model: "/dev/zero".into(), ..options() }, "/dev/zero: is a device, not a folder"),
        (LoadOptions { config: Some(at("model_index.json")), ..options() }, "is a file, not a folder"),
        (LoadOptions { config: Some(at("none")), ..options() }, "none: not found (a folder"),
        (LoadOptions { vae: Some(at("unet/none")), ..options() }, "none: not found (a file with weights)"),
        (LoadOptions { vae: Some(unet.clone()), ..options() }, "has no autoencoder"),
        (LoadOptions { vae: Some(at("tokenizer")), ..options() }, "is not the folder of an autoencoder"),
        (
            LoadOptions { taesd: Some("/dev/zero".into()), ..options() },
            "/dev/zero: is a device, not the preview",
        ),
        (LoadOptions { taesd: Some(unet), ..options() }, "not those of a TAESD decoder"),
        (
            LoadOptions { taesd: Some(at("taesd/diffusion_pytorch_model.safetensors")), ..options() },
            "name the folder",
        ),
    ] {
        let error = SdxlPipeline::load(options).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    // The folder of a whole checkpoint has the component.
    let whole = LoadOptions { vae: Some(at("")), taesd: Some(at("")), ..options() };
    let own = picture(&load(folder.path()).expect("loads"));
    assert_eq!(picture(&SdxlPipeline::load(whole).expect("loads")), own);
}

#[test]
fn models_that_only_look_like_sdxl_are_refused_by_key() {
    for (file, key, value) in [
        ("model_index.json", "_class_name", json!("StableDiffusionPipeline")),
        ("model_index.json", "text_encoder", json!(["transformers", "T5EncoderModel"])),
        ("unet/config.json", "time_cond_proj_dim", json!(256)),
        ("unet/config.json", "addition_embed_type", json!("text")),
        (
            "unet/config.json",
            "down_block_types",
            json!(["DownBlock2D", "SimpleCrossAttnDownBlock2D", "DownBlock2D"]),
        ),
        ("unet/config.json", "resnet_time_scale_shift", json!("scale_shift")),
        ("unet/config.json", "in_channels", json!(8)),
        ("unet/config.json", "cross_attention_dim", json!(48)),
        ("unet/config.json", "act_fn", json!("mish")),
        ("vae/config.json", "latents_mean", json!([0.1, 0.2, 0.3, 0.4])),
        ("vae/config.json", "shift_factor", json!(0.5)),
        ("vae/config.json", "scaling_factor", json!(null)),
        ("scheduler/scheduler_config.json", "_class_name", json!("FlowMatchEulerDiscreteScheduler")),
        ("scheduler/scheduler_config.json", "sigma_data", json!(0.5)),
        ("scheduler/scheduler_config.json", "interpolation_type", json!("log_linear")),
        ("scheduler/scheduler_config.json", "timestep_spacing", json!("backwards")),
        ("scheduler/scheduler_config.json", "prediction_type", json!("flow")),
        ("text_encoder_2/config.json", "hidden_act", json!("swiglu")),
        ("tokenizer/tokenizer_config.json", "tokenizer_class", json!("T5Tokenizer")),
    ] {
        let folder = checkpoint();
        set(&folder.path().join(file), key, value.clone());
        let complaint = complaint(folder.path());
        assert!(complaint.contains(key), "{file} {key}={value}: {complaint}");
    }
}

#[test]
fn requests_that_cannot_be_done_name_their_field() {
    let folder = checkpoint();
    let pipeline = load(folder.path()).expect("loads");
    let refused = |change: fn(&mut Inputs)| {
        let mut inputs = Inputs::new("a fox", 32, 32);
        change(&mut inputs);
        match pipeline.begin(&inputs) {
            Err(PipelineError::BadRequest { field, .. }) => field,
            Err(other) => panic!("{other}"),
            Ok(_) => "",
        }
    };
    assert_eq!(refused(|_| ()), "");
    assert_eq!(refused(|i| i.width = 33), "width");
    assert_eq!(refused(|i| i.height = 0), "height");
    assert_eq!(refused(|i| i.width = 1 << 20), "width");
    assert_eq!(refused(|i| i.num_inference_steps = 0), "num_inference_steps");
    assert_eq!(refused(|i| i.num_inference_steps = 1001), "num_inference_steps");
    assert_eq!(refused(|i| i.clip_skip = Some(3)), "clip_skip");
    assert_eq!(refused(|i| i.guidance_rescale = 2.0), "guidance_rescale");
    assert_eq!(refused(|i| i.guidance_scale = f64::NAN), "guidance_scale");
    assert_eq!(refused(|i| i.num_images_per_prompt = 0), "num_images");
    assert_eq!(refused(|i| i.num_images_per_prompt = u32::MAX as usize), "num_images");
}

#[test]
fn numbers_that_are_not_finite_are_a_fault() {
    let folder = overflowing();
    let pipeline = SdxlPipeline::load(LoadOptions { dtype: DType::F16, ..LoadOptions::cpu(folder.path()) });
    let pipeline = pipeline.expect("loads");
    let mut denoising = pipeline.begin(&Inputs::new("a fox", 32, 32)).expect("begins");
    let error = pipeline.step(&mut [&mut denoising]).expect_err("a fault");
    assert!(matches!(error, PipelineError::Fault { .. }), "{error}");
}

#[test]
fn jobs_in_a_batch_do_not_affect_each_other() {
    let folder = checkpoint();
    let pipeline = load(folder.path()).expect("loads");
    let begin = |seed, width, guidance| {
        let mut inputs = Inputs::new("a fox", width, 32);
        (inputs.seed, inputs.num_inference_steps, inputs.guidance_scale) = (seed, 3, guidance);
        pipeline.begin(&inputs).expect("begins")
    };
    let wishes = [(1, 32, 5.0), (2, 48, 5.0), (3, 32, 1.0)];
    let alone = wishes.map(|(seed, width, guidance)| {
        let mut job = begin(seed, width, guidance);
        for _ in 0..3 {
            pipeline.step(&mut [&mut job]).expect("steps");
        }
        job.latents().clone()
    });
    let [mut a, mut b, mut c] = wishes.map(|(seed, width, guidance)| begin(seed, width, guidance));
    // The first job is one step ahead of the others.
    pipeline.step(&mut [&mut a]).expect("steps");
    pipeline.step(&mut [&mut a, &mut b, &mut c]).expect("steps");
    pipeline.step(&mut [&mut a, &mut b, &mut c]).expect("steps");
    pipeline.step(&mut [&mut c, &mut b]).expect("steps");
    for (job, alone) in [a, b, c].iter().zip(&alone) {
        let distance =
            (job.latents() - alone).and_then(|d| d.abs()?.max_all()?.to_scalar::<f32>()).expect("a number");
        assert!(distance < 1e-4, "{distance}");
    }
    assert!(pipeline.step(&mut [&mut begin(1, 32, 5.0)]).is_ok());
}

#[test]
fn the_models_type_does_not_change_the_noise() {
    let first = |dtype| {
        let folder = checkpoint();
        let pipeline =
            SdxlPipeline::load(LoadOptions { dtype, ..LoadOptions::cpu(folder.path()) }).expect("loads");
        let denoising = pipeline.begin(&Inputs::new("a fox", 32, 32)).expect("begins");
        denoising.latents().flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("numbers")
    };
    assert_eq!(first(DType::F32), first(DType::F16));
}

#[test]
fn devices_by_name() {
    assert!(parse_device("cpu").is_ok() && parse_device("auto").is_ok());
    for name in ["cpu:3", "auto:1", "gpu", "cuda:x", "cuda:99", "metal:99"] {
        assert!(parse_device(name).is_err_and(|e| e.to_string().contains(name)), "{name}");
    }
}
