//! Single files, another autoencoder, and the preview decoder in its original file.

#[cfg(test)]
#[path = "support/picture.rs"]
mod picture;
#[cfg(test)]
mod support;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use glimpse_worker::pipeline::{LoadOptions, SdxlPipeline};
use glimpse_worker::sdxl::tokenizer::ClipTokenizer;
use glimpse_worker::sdxl::{ConfigFiles, LoadError};
use picture::picture;
use support::parity;
use tempfile::TempDir;

/// The fixtures' single file, with the configuration it needs.
#[cfg(test)]
fn single() -> LoadOptions {
    let variants = parity().join("variants");
    LoadOptions {
        config: Some(parity().join("model")),
        taesd: Some(variants.join("taesdxl")),
        ..LoadOptions::cpu(variants.join("model.safetensors"))
    }
}

#[cfg(test)]
fn tensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).expect("tensors")
}

/// A copy of a file with changed tensors.
#[cfg(test)]
fn changed(path: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut all = tensors(path);
    change(&mut all);
    let copy = folder.path().join(path.file_name().expect("a file"));
    candle_core::safetensors::save(&all, &copy).expect("saved");
    (folder, copy)
}

#[cfg(test)]
fn complaint(options: LoadOptions) -> String {
    SdxlPipeline::load(options).expect_err("a damaged checkpoint").to_string()
}

#[test]
fn a_missing_tensor_has_its_name_in_the_file() {
    let LoadOptions { model, .. } = single();
    let (_folder, damaged) = changed(&model, |all| {
        all.remove("model.diffusion_model.output_blocks.2.2.conv.bias").expect("there");
        all.remove("model.diffusion_model.middle_block.1.proj_in.weight").expect("there");
        let out = all["model.diffusion_model.out.2.weight"].narrow(0, 0, 2).expect("two rows");
        all.insert("model.diffusion_model.out.2.weight".into(), out.contiguous().expect("two rows"));
    });
    let message = complaint(LoadOptions { model: damaged, ..single() });
    for part in [
        "model.safetensors",
        "missing model.diffusion_model.output_blocks.2.2.conv.bias",
        "missing model.diffusion_model.middle_block.1.proj_in.weight",
        "model.diffusion_model.out.2.weight should be [4, 12, 3, 3] and is [2, 12, 3, 3]",
    ] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
    for name in [
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
        "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_bias",
        "conditioner.embedders.1.model.token_embedding.weight",
        "first_stage_model.decoder.mid.attn_1.q.weight",
        "first_stage_model.encoder.down.0.downsample.conv.weight",
    ] {
        let (_folder, damaged) = changed(&model, |all| drop(all.remove(name).expect("there")));
        let message = complaint(LoadOptions { model: damaged, ..single() });
        assert!(message.contains(&format!("missing {name}")), "{message}");
    }
}

#[test]
fn a_file_that_is_no_checkpoint_is_called_what_it_looks_like() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("x.safetensors");
    for (names, expected) in [
        (&["lora_unet_middle_block_1_proj_in.lora_up.weight"][..], "looks like a LoRA"),
        (&["unet.mid_block.attentions.0.proj_in.lora_A.weight"], "looks like a LoRA"),
        (
            &["cond_stage_model.transformer.text_model.x.weight", "model.diffusion_model.out.2.weight"],
            "looks like a checkpoint of Stable Diffusion 1",
        ),
        (&["cond_stage_model.model.x", "model.diffusion_model.out.2.weight"], "Stable Diffusion 2"),
        (&["conditioner.embedders.0.model.x", "model.diffusion_model.out.2.weight"], "has no autoencoder"),
        (&["first_stage_model.decoder.conv_in.weight"], "looks like an autoencoder"),
        (&["decoder.conv_in.weight", "encoder.conv_in.weight"], "looks like an autoencoder"),
        (&["model.diffusion_model.input_blocks.0.0.weight"], "looks like a UNet without text encoders"),
        (&["input_blocks.0.0.weight"], "looks like a UNet without text encoders"),
        (&["down_blocks.0.resnets.0.conv1.weight"], "looks like a UNet without text encoders"),
        (&["double_blocks.0.img_attn.proj.weight"], "such as FLUX"),
        (&["text_model.embeddings.position_embedding.weight"], "looks like a text encoder"),
        (&["1.weight", "3.conv.0.weight"], "looks like a TAESD"),
        (&["clip_g", "clip_l"], "looks like an embedding (textual inversion)"),
        (&["something.else"], "does not look like a checkpoint of SDXL"),
        (
            &["conditioner.embedders.1.model.ln_final.bias", "model.diffusion_model.out.2.weight"],
            "has no autoencoder",
        ),
    ] {
        let one = |name: &&str| ((*name).to_owned(), Tensor::ones(1, DType::F32, &Device::Cpu).expect("one"));
        let all: HashMap<_, _> = names.iter().map(one).collect();
        candle_core::safetensors::save(&all, &model).expect("saved");
        let message = complaint(LoadOptions { model: model.clone(), ..single() });
        let message = message.strip_prefix(&format!("{}: ", model.display())).expect("the file");
        assert!(message.contains(expected) && !message.contains("missing"), "{names:?}: {message}");
    }
}

#[test]
fn taesds_original_file_may_be_named_itself() {
    let file = parity().join("variants/taesdxl/taesdxl_decoder.safetensors");
    SdxlPipeline::load(LoadOptions { taesd: Some(file), ..single() }).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_truncated_single_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let cut = folder.path().join("cut.safetensors");
    let whole = fs::read(single().model).expect("a file");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
    let message = complaint(LoadOptions { model: cut, ..single() });
    assert!(message.contains("cut.safetensors") && message.contains("cut?"), "{message}");
}

#[test]
fn a_single_file_without_configuration_is_read_as_sdxl_base() {
    let message = complaint(LoadOptions { config: None, ..single() });
    // The built-in encoders are wider than the fixtures'.
    assert!(message.contains("should be [49408, 768] and is"), "{message}");
}

#[test]
fn another_autoencoder_replaces_the_models_own() {
    let model = parity().join("model");
    let options = || LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(model.clone()) };
    let load = |options| SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let own = picture(&load(options()));
    let same = picture(&load(LoadOptions { vae: Some(model.join("vae")), ..options() }));
    assert!(same == own, "its own as another");

    // A folder with the attention's names before diffusers 0.15.
    let weights = model.join("vae/diffusion_pytorch_model.safetensors");
    let (folder, _) = changed(&weights, |all| {
        for name in all.keys().cloned().collect::<Vec<_>>() {
            let mut old = name.clone();
            for (new, before) in
                [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]
            {
                old = old.replace(&format!("attentions.0.{new}."), &format!("attentions.0.{before}."));
            }
            let tensor = all.remove(&name).expect("there");
            all.insert(old, tensor);
        }
    });
    fs::copy(model.join("vae/config.json"), folder.path().join("config.json")).expect("copied");
    let old = picture(&load(LoadOptions { vae: Some(folder.path().into()), ..options() }));
    assert!(old == own, "old names");

    // The autoencoder of the single file, in a file of its own. It is float16, so the picture differs.
    let file = single().model;
    let (_folder, alone) = changed(&file, |all| {
        let prefix = "first_stage_model.";
        *all =
            all.iter().filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.clone()))).collect();
    });
    let half = picture(&load(LoadOptions { vae: Some(alone), ..options() }));
    let within = picture(&load(LoadOptions { vae: Some(file), ..options() }));
    assert!(half == within, "with and without the prefix of a checkpoint");
    let apart = half.iter().zip(&own).filter(|(a, b)| a != b).count();
    assert!(0 < apart && apart < own.len() / 10, "{apart} of {}", own.len());
}

/// A file with the tensors whose names begin with `prefix`, without it.
#[cfg(test)]
fn alone(file: &Path, prefix: &str, as_prefix: &str) -> (TempDir, PathBuf) {
    changed(file, |all| {
        let kept = all
            .iter()
            .filter_map(|(n, t)| Some((format!("{as_prefix}{}", n.strip_prefix(prefix)?), t.clone())));
        *all = kept.collect();
    })
}

#[test]
fn a_unet_alone_takes_text_encoders_and_an_autoencoder_from_elsewhere() {
    let load = |options| SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let whole = single().model;
    let own = picture(&load(single()));
    let elsewhere =
        || LoadOptions { text_encoders: Some(whole.clone()), vae: Some(whole.clone()), ..single() };
    let unet = "model.diffusion_model.";
    for prefix in [unet, "diffusion_model.", ""] {
        let (_folder, model) = alone(&whole, unet, prefix);
        assert!(picture(&load(LoadOptions { model: model.clone(), ..elsewhere() })) == own, "{prefix:?}");

        let message = complaint(LoadOptions { model: model.clone(), vae: None, ..elsewhere() });
        assert!(message.contains("--vae"), "{message}");
        let message = complaint(LoadOptions { model: model.clone(), text_encoders: None, ..elsewhere() });
        assert!(message.contains("--text-encoders"), "{message}");
        // A refiner has its own.
        let message = complaint(LoadOptions { refiner: Some(model.clone()), ..single() });
        assert!(message.contains("--refiner") && !message.contains("--text-encoders"), "{message}");
        // It is smaller than SDXL base.
        let message = complaint(LoadOptions { model, config: None, ..elsewhere() });
        assert!(message.contains("--config"), "{message}");
    }
    // diffusers' names: a file of `unet` in a folder.
    let folder = parity().join("model");
    let taesd = Some(parity().join("taesdxl"));
    let own = picture(&load(LoadOptions { taesd: taesd.clone(), ..LoadOptions::cpu(folder.clone()) }));
    let options = LoadOptions {
        config: Some(folder.clone()),
        text_encoders: Some(folder.clone()),
        vae: Some(folder.join("vae")),
        taesd,
        ..LoadOptions::cpu(folder.join("unet/diffusion_pytorch_model.safetensors"))
    };
    assert!(picture(&load(options)) == own);
}

#[test]
fn text_encoders_may_be_a_file_each() {
    let load = |options| SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let model = parity().join("model");
    let options = || LoadOptions { taesd: Some(parity().join("taesdxl")), ..LoadOptions::cpu(model.clone()) };
    let own = picture(&load(options()));
    let folder = tempfile::tempdir().expect("a folder");
    for (name, part) in [("clip_l", "text_encoder"), ("clip_g", "text_encoder_2")] {
        let message = complaint(LoadOptions { text_encoders: Some(folder.path().into()), ..options() });
        assert!(message.contains("clip_"), "{message}");
        let file = folder.path().join(format!("{name}.safetensors"));
        fs::copy(model.join(part).join("model.safetensors"), file).expect("copied");
    }
    let named = LoadOptions { text_encoders: Some(folder.path().into()), ..options() };
    assert!(picture(&load(named)) == own);
    for wrong in
        [model.join("unet"), model.join("unet/diffusion_pytorch_model.safetensors"), model.join("no")]
    {
        let message = complaint(LoadOptions { text_encoders: Some(wrong.clone()), ..options() });
        assert!(message.starts_with(&wrong.display().to_string()), "{message}");
    }
}

#[test]
fn the_projection_of_the_text_may_be_a_linear_layer() {
    let load = |options| SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let whole = single().model;
    let (_folder, model) = changed(&whole, |all| {
        let name = "conditioner.embedders.1.model.text_projection";
        let turned = all.remove(name).and_then(|t| t.t().ok()?.contiguous().ok()).expect("a projection");
        all.insert(format!("{name}.weight"), turned);
    });
    assert!(picture(&load(LoadOptions { model, ..single() })) == picture(&load(single())));
}

#[test]
fn unknown_tensors_are_ignored() {
    let load = |options| SdxlPipeline::load(options).unwrap_or_else(|e| panic!("{e}"));
    let own = picture(&load(single()));
    let (_folder, model) = changed(&single().model, |all| {
        let tensor = Tensor::ones((2, 2), DType::F32, &Device::Cpu).expect("numbers");
        all.insert("model.diffusion_model.extra.weight".into(), tensor.clone());
        all.insert("optimizer.state".into(), tensor);
    });
    assert!(picture(&load(LoadOptions { model, ..single() })) == own);
}

#[test]
fn a_file_that_is_no_preview_decoder_is_refused() {
    let path = parity().join("variants/taesdxl/taesdxl_decoder.safetensors");
    let (folder, _) = changed(&path, |all| drop(all.remove("1.weight")));
    let message = complaint(LoadOptions { taesd: Some(folder.path().into()), ..single() });
    assert!(message.contains("taesdxl_decoder.safetensors") && message.contains("TAESD"), "{message}");
    let (folder, _) = changed(&path, |all| drop(all.remove("3.conv.2.bias")));
    let message = complaint(LoadOptions { taesd: Some(folder.path().into()), ..single() });
    assert!(message.contains("missing 3.conv.2.bias"), "{message}");
}

/// A VAE whose activations overflow in float16, but not in float32.
#[test]
fn an_autoencoder_that_overflows_runs_again_in_float32() -> Result<(), LoadError> {
    let model = parity().join("model");
    let weights = model.join("vae/diffusion_pytorch_model.safetensors");
    let (folder, _) = changed(&weights, |all| {
        // Weights near float16's largest number. A norm follows, so float32 gives the same picture.
        let name = "decoder.conv_in.weight";
        let most = all[name].abs().and_then(|w| w.max_all()?.to_scalar::<f32>()).expect("a number");
        let large = (&all[name] * (6e4 / f64::from(most))).expect("numbers");
        all.insert(name.into(), large);
    });
    let mut config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(model.join("vae/config.json")).expect("a file"))
            .expect("JSON");
    config["force_upcast"] = false.into();
    fs::write(folder.path().join("config.json"), config.to_string()).expect("written");

    let load = |dtype| {
        SdxlPipeline::load(LoadOptions {
            vae: Some(folder.path().into()),
            taesd: Some(parity().join("taesdxl")),
            dtype,
            ..LoadOptions::cpu(model.clone())
        })
    };
    let latents = Tensor::from_iter((0..256).map(|i| (i as f32 * 0.7).sin() * 2.0), &Device::Cpu)?;
    let latents = latents.reshape((1, 4, 8, 8))?;
    let numbers = |picture: Tensor| picture.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("numbers");
    let precise = numbers(load(DType::F32)?.decode(&latents).expect("decodes"));
    let pipeline = load(DType::F16)?;
    // The second call uses float32 from the start.
    for _ in 0..2 {
        let same = numbers(pipeline.decode(&latents).expect("decodes")) == precise;
        assert!(same, "not the picture of float32");
    }
    Ok(())
}

/// The ids of CLIP.
#[test]
fn the_built_in_tokenizers_are_clips() {
    let open = |component| ClipTokenizer::open(&ConfigFiles::SdxlBase(component)).expect("built in");
    let [first, second] = [open("tokenizer"), open("tokenizer_2")];
    let words = [49406, 320, 1125, 539, 320, 2368, 49407];
    for (tokenizer, pad) in [(&first, 49407), (&second, 0)] {
        assert_eq!(tokenizer.highest_id(), 49407);
        let ids = tokenizer.encode("a photo of a CAT").expect("ids").ids;
        assert_eq!(ids[..7], words);
        assert!(ids[7..].iter().all(|id| *id == pad) && ids.len() == 77);
    }
    // The ids of transformers' CLIPTokenizer and of open_clip's SimpleTokenizer.
    let odd = "naïve café — 北京 🚀 it's 2024!";
    let cut = [
        49406, 1097, 35689, 563, 15304, 2005, 161, 234, 245, 21078, 361, 13542, 585, 568, 273, 271, 273, 275,
        256, 49407,
    ];
    assert_eq!(first.encode(odd).expect("ids").ids[..20], cut);
}
