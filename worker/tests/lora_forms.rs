//! Every form of a LoRA gives the weights that its own library computes, and every naming gives the same picture.

#[cfg(test)]
#[path = "support/close.rs"]
mod close;
#[cfg(test)]
#[path = "support/pipeline.rs"]
mod fixture;
#[cfg(test)]
#[path = "support/numbers.rs"]
mod numbers;
#[cfg(test)]
mod support;
#[cfg(test)]
#[path = "support/tensors.rs"]
mod tensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use close::{assert_close, relative};
use fixture::pipeline;
use glimpse_worker::pipeline::{Inputs, LoraChoice, Pipeline, PipelineError, PipelineWarning, SdxlPipeline};
use glimpse_worker::sdxl::lora::{Change, LoraFile, LoraTarget, ModuleName, Slot, merged};
use numbers::numbers;
use support::parity;
use tempfile::TempDir;
use tensors::{Tensors, load};

/// The limit of the relative L2 error of a changed weight.
const LIMIT: f64 = 1e-5;

#[cfg(test)]
fn component(name: &str) -> (&'static str, LoraTarget) {
    match name {
        "unet" => ("unet/diffusion_pytorch_model.safetensors", LoraTarget::Unet),
        "text_encoder" => ("text_encoder/model.safetensors", LoraTarget::AnyTextEncoder),
        _ => ("text_encoder_2/model.safetensors", LoraTarget::AnyTextEncoder),
    }
}

/// The change of a module, by diffusers' name.
#[cfg(test)]
fn change<'a>(file: &'a LoraFile, target: LoraTarget, module: &str) -> &'a Change {
    let names = [ModuleName::Dotted(module.to_owned()), ModuleName::Underscored(module.replace('.', "_"))];
    let mut changes = file.changes();
    let found = changes.find(|(of, name, _)| *of == target && names.contains(name));
    found.unwrap_or_else(|| panic!("no {module} in {}", file.path().display())).2
}

#[test]
fn every_form_gives_the_weights_of_its_library() {
    let folder = parity().join("loras");
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for (key, expected) in load(folder.join("merged.safetensors")) {
        let parts: Vec<&str> = key.split('|').collect();
        let [files, strengths, place] = parts[..] else { panic!("{key}") };
        let (part, tensor) = place.split_once('.').expect("a component");
        let (weights, target) = component(part);
        let all = load(parity().join("model").join(weights));
        let own = all.get(tensor).or_else(|| all.get(&format!("text_model.{tensor}"))).expect("a tensor");
        let (module, kind) = tensor.rsplit_once('.').expect("a module");
        let slot = Slot::ALL.into_iter().find(|slot| slot.name() == kind).expect("a weight or bias");
        let opened: Vec<_> =
            files.split('+').map(|file| LoraFile::open(&folder.join(file)).expect("a LoRA")).collect();
        let changes: Vec<_> = opened
            .iter()
            .zip(strengths.split('+'))
            .map(|(file, strength)| (change(file, target, module), strength.parse().expect("a number")))
            .collect();
        assert!(changes.iter().all(|(change, _)| change.fits(slot, own.dims())), "{key}");
        let own = own.to_dtype(DType::F32).expect("numbers");
        let found = merged(&own, slot, &changes).expect("merged");
        assert_close(&key, &found, &expected, LIMIT);
        let error = relative(&numbers(&found), &numbers(&expected));
        let far = relative(&numbers(&own), &numbers(&expected));
        assert!(far > 1e-3, "{key}: the change is only {far:.1e}");
        let most = worst.entry(files.to_owned()).or_default();
        *most = most.max(error);
    }
    assert!(worst.len() >= 30, "{}", worst.len());
    for (file, error) in worst {
        println!("{file}: {error:.1e}");
    }
}

#[cfg(test)]
fn with(path: &Path, scale: f64) -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 1;
    inputs.loras = vec![LoraChoice::file(path, scale)];
    inputs
}

#[cfg(test)]
fn latents(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<f32> {
    let mut denoising = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    pipeline.step(&mut [&mut denoising]).expect("steps");
    denoising.latents().flatten_all().and_then(|t| t.to_vec1()).expect("numbers")
}

#[cfg(test)]
fn refusal(pipeline: &SdxlPipeline, path: &Path) -> String {
    match pipeline.begin(&with(path, 1.0)) {
        Err(PipelineError::BadRequest { field: "loras", message }) => message,
        other => panic!("{other:?}"),
    }
}

#[cfg(test)]
fn saved(all: &Tensors) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lora.safetensors");
    candle_core::safetensors::save(all, &path).expect("saved");
    (folder, path)
}

#[cfg(test)]
fn peft() -> Tensors {
    load(parity().join("variants/peft.safetensors"))
}

#[cfg(test)]
fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("zeros")
}

/// The same change with other names.
#[cfg(test)]
fn renamed(all: &Tensors, rename: impl Fn(&str) -> String) -> (TempDir, PathBuf) {
    let others: Tensors = all.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect();
    assert_eq!(others.len(), all.len(), "two names are the same");
    saved(&others)
}

/// Component, module and part of peft's names in the fixture.
#[cfg(test)]
fn split(name: &str) -> (&str, &str, &str) {
    let (component, rest) = name.split_once('.').expect("a component");
    let (module, part) = rest.split_once(".lora_").expect("a part");
    (component, module, part.trim_end_matches(".weight"))
}

#[test]
fn every_naming_gives_the_same_picture() {
    let pipeline = pipeline();
    let all = peft();
    let expected = latents(&pipeline, &with(&parity().join("variants/peft.safetensors"), 1.0));
    let down_up = |part: &str| if part == "A" { "down" } else { "up" };
    let number = |component: &str| match component {
        "unet" => "unet",
        "text_encoder" => "te1",
        _ => "te2",
    };
    let same = |what: &str, rename: &dyn Fn(&str, &str, &str) -> String| {
        let (_folder, path) = renamed(&all, |name| {
            let (component, module, part) = split(name);
            rename(component, module, part)
        });
        assert!(latents(&pipeline, &with(&path, 1.0)) == expected, "{what}");
    };
    same("kohya", &|component, module, part| {
        format!("lora_{}_{}.lora_{}.weight", number(component), module.replace('.', "_"), down_up(part))
    });
    same("kohya with peft's parts", &|component, module, part| {
        format!("lora_{}_{}.lora_{part}.weight", number(component), module.replace('.', "_"))
    });
    same("LyCORIS", &|component, module, part| {
        let start =
            if component == "unet" { "lycoris".to_owned() } else { format!("lora_{}", number(component)) };
        format!("{start}_{}.lora_{}.weight", module.replace('.', "_"), down_up(part))
    });
    same("an adapter's name", &|component, module, part| {
        format!("{component}.{module}.lora_{part}.default_0.weight")
    });
    same("PeftModel within a component", &|component, module, part| {
        format!("{component}.base_model.model.{module}.lora_{part}.weight")
    });
    same("old diffusers", &|component, module, part| {
        let part = down_up(part);
        match (component, module.rsplit_once(".to_")) {
            ("unet", Some((attention, matrix))) => {
                let matrix = matrix.trim_end_matches(".0");
                format!("unet.{attention}.processor.to_{matrix}_lora.{part}.weight")
            }
            _ => format!("{component}.{module}.lora_linear_layer.{part}.weight"),
        }
    });
    same("OneTrainer", &|component, module, part| {
        format!("lora_{}.{module}.lora_{}.weight", number(component), down_up(part))
    });
    same("OMI", &|component, module, part| {
        let start = match component {
            "unet" => "unet",
            "text_encoder" => "clip_l",
            _ => "clip_g",
        };
        format!("{start}.{module}.lora_{}.weight", down_up(part))
    });
    same("ComfyUI", &|component, module, part| {
        let start = match component {
            "unet" => "diffusion_model",
            "text_encoder" => "text_encoders.clip_l.transformer",
            _ => "text_encoders.clip_g.transformer",
        };
        format!("{start}.{module}.lora_{}.weight", down_up(part))
    });
    same("no component for the UNet, no text_model", &|component, module, part| match component {
        "unet" => format!("{module}.lora_{part}.weight"),
        _ => {
            format!("{component}.{}.lora.{}.weight", module.trim_start_matches("text_model."), down_up(part))
        }
    });
}

#[test]
fn sgm_names_with_dots_give_the_picture_of_those_with_underscores() {
    let pipeline = pipeline();
    let file = parity().join("variants/kohya_sgm.safetensors");
    let expected = latents(&pipeline, &with(&file, 1.0));
    let dotted = |name: &str| {
        let (module, part) = name.split_once('.').expect("a part");
        let Some(module) = module.strip_prefix("lora_unet_") else { return name.to_owned() };
        let mut dots = module.replace('_', ".");
        for word in [
            "input.blocks",
            "output.blocks",
            "middle.block",
            "proj.in",
            "proj.out",
            "to.q",
            "to.k",
            "to.v",
            "to.out",
            "transformer.blocks",
        ] {
            dots = dots.replace(word, &word.replace('.', "_"));
        }
        format!("diffusion_model.{dots}.{part}")
    };
    let (_folder, path) = renamed(&load(&file), dotted);
    assert!(latents(&pipeline, &with(&path, 1.0)) == expected);
}

#[test]
fn a_file_without_a_text_encoders_name_is_for_the_one_that_it_fits() {
    let pipeline = pipeline();
    for (folder, part) in [("peft_text", "text_encoder"), ("peft_text_2", "text_encoder_2")] {
        let file = parity().join("loras").join(folder).join("adapter_model.safetensors");
        let bare = latents(&pipeline, &with(&file, 1.0));
        let (_folder, path) =
            renamed(&load(&file), |name| name.replace("base_model.model.", &format!("{part}.")));
        // alpha / rank of adapter_config.json, which is not beside the other file.
        assert!(bare == latents(&pipeline, &with(&path, 1.5)), "{folder}");
        assert!(bare != latents(&pipeline, &with(&path, 1.0)), "{folder}");
    }
}

#[test]
fn a_changed_adapter_config_is_read_again_and_a_wrong_one_is_named() {
    let pipeline = pipeline();
    let from = parity().join("loras/peft_lora");
    let folder = tempfile::tempdir().expect("a folder");
    let [file, config] = ["adapter_model.safetensors", "adapter_config.json"].map(|n| folder.path().join(n));
    std::fs::copy(from.join("adapter_model.safetensors"), &file).expect("copied");
    let write = |text: &str| std::fs::write(&config, text).expect("written");
    let plain = latents(&pipeline, &with(&file, 1.0));
    write(r#"{"peft_type": "LORA", "lora_alpha": 4, "r": 2}"#);
    let doubled = latents(&pipeline, &with(&file, 1.0));
    assert!(doubled != plain);
    for (text, expected) in [
        ("[1]", "adapter_config.json is [1], and should be a JSON object"),
        ("{", "adapter_config.json: "),
        (r#"{"peft_type": "IA3"}"#, "\"peft_type\" is IA3, which is not supported"),
        (r#"{"lora_alpha": "x"}"#, "adapter_config.json: lora_alpha is \"x\""),
        (r#"{"alpha_pattern": {"to_[qk]": 1}}"#, "alpha_pattern.to_[qk] is a regular expression"),
        (r#"{"use_dora": true}"#, "has no lora_magnitude_vector"),
    ] {
        write(text);
        let message = refusal(&pipeline, &file);
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(&folder.path().to_string_lossy().into_owned()), "{message}");
    }
}

#[test]
fn a_lora_for_another_model_is_named() {
    let pipeline = pipeline();
    let pair = |module: &str, outputs: usize, inputs: usize, parts: [&str; 2]| -> Tensors {
        let [down, up] = parts.map(|part| format!("{module}.{part}.weight"));
        Tensors::from([(down, zeros(&[4, inputs])), (up, zeros(&[outputs, 4]))])
    };
    let (kohya, modern) = (["lora_down", "lora_up"], ["lora_A", "lora_B"]);
    let transformer = "down_blocks_1_attentions_0_transformer_blocks_0";
    for (model, all) in [
        ("FLUX", pair("transformer.single_transformer_blocks.0.attn.to_q", 64, 64, modern)),
        ("FLUX", pair("lora_unet_double_blocks_0_img_attn_proj", 64, 64, kohya)),
        ("Stable Diffusion 3", pair("lora_unet_joint_blocks_0_x_block_attn_qkv", 64, 64, kohya)),
        ("Stable Diffusion 3", pair("transformer.transformer_blocks.0.attn.add_q_proj", 64, 64, modern)),
        ("Wan", pair("diffusion_model.blocks.0.cross_attn.k", 64, 64, modern)),
        ("Wan", pair("lora_unet_blocks_0_self_attn_q", 64, 64, kohya)),
        ("Qwen-Image", pair("transformer_blocks.0.img_mlp.net.2", 64, 64, modern)),
        ("Z-Image", pair("diffusion_model.layers.0.attention.to_q", 64, 64, modern)),
        ("LTX-Video", pair("transformer.transformer_blocks.0.attn1.to_q", 64, 64, modern)),
        ("Stable Diffusion 1", pair(&format!("lora_unet_{transformer}_attn2_to_k"), 320, 768, kohya)),
        ("Stable Diffusion 2", pair(&format!("lora_unet_{transformer}_attn2_to_k"), 320, 1024, kohya)),
        ("Stable Diffusion 1", pair("lora_unet_up_blocks_3_attentions_0_proj_in", 320, 320, kohya)),
        ("a language model", pair("base_model.model.model.layers.0.self_attn.q_proj", 64, 64, modern)),
        (
            "a textual inversion",
            Tensors::from([("clip_l".into(), zeros(&[2, 16])), ("clip_g".into(), zeros(&[2, 24]))]),
        ),
    ] {
        let (_folder, path) = saved(&all);
        let message = refusal(&pipeline, &path);
        assert!(message.contains("looks like") && message.contains(model), "{model}: {message}");
        assert!(message.starts_with("lora.safetensors: "), "{message}");
    }
}

#[test]
fn parts_that_do_not_belong_together_are_named() {
    let pipeline = pipeline();
    let module = "lora_unet_mid_block_attentions_0_proj_in";
    let refused = |parts: &[(&str, &[usize])], expected: &str| {
        let all = parts.iter().map(|(part, shape)| (format!("{module}.{part}"), zeros(shape)));
        let (_folder, path) = saved(&all.collect());
        let message = refusal(&pipeline, &path);
        assert!(message.contains(expected), "{expected}: {message}");
    };
    let w = |part: &'static str, shape: &'static [usize]| (part, shape);
    refused(&[w("lora_up.weight", &[20, 2])], "has no lora_down or lora_A");
    refused(&[w("lora_down.weight", &[2, 20])], "has no lora_up or lora_B");
    refused(
        &[w("lora_down.weight", &[2, 20]), w("lora_up.weight", &[20, 3])],
        "lora_up.weight has shape [20, 3], and the rank of",
    );
    refused(&[w("lora_down.weight", &[20000, 20]), w("lora_up.weight", &[20, 20000])], "is above 16384");
    refused(
        &[
            w("lora_down.weight", &[2, 20]),
            w("lora_up.weight", &[20, 2]),
            w("lora_mid.weight", &[3, 2, 3, 3]),
        ],
        "lora_mid.weight has shape [3, 2, 3, 3], and the ranks of",
    );
    refused(&[w("alpha", &[])], "has an alpha, but no matrices");
    refused(&[w("hada_w1_a", &[20, 2]), w("hada_w1_b", &[2, 20])], "has no hada_w2_a");
    refused(
        &[
            w("hada_w1_a", &[20, 2]),
            w("hada_w1_b", &[2, 20]),
            w("hada_w2_a", &[20, 2]),
            w("hada_w2_b", &[2, 7]),
        ],
        "is for another shape",
    );
    refused(&[w("lokr_w1", &[4, 4])], "has no lokr_w2");
    refused(&[w("lokr_w1", &[4, 4]), w("lokr_w2_a", &[5, 1])], "has no lokr_w2_b");
    refused(&[w("lokr_w1", &[4, 4]), w("lokr_w2", &[5, 4])], "is for another shape");
    refused(&[w("lokr_w1", &[4, 4, 3, 3]), w("lokr_w2", &[5, 5])], "should be a matrix");
    refused(&[w("dora_scale", &[20, 1])], "has lengths of DoRA, but no matrices");
    refused(&[w("diff", &[20, 20]), w("dora_scale", &[3, 1])], "is for another shape");
    refused(&[w("diff", &[20, 20]), w("dora_scale", &[4, 5])], "one number per row or column");
    refused(&[w("diff", &[20, 21])], "is for another shape");
    refused(&[w("diff_b", &[7])], "the bias of mid_block_attentions_0_proj_in of the unet is [20]");
    refused(&[w("w_norm", &[20])], "is for another shape");
    refused(&[w("on_input", &[]), w("weight", &[20])], "(IA)^3");
    refused(&[w("oft_blocks", &[2, 4, 4])], "OFT");
    refused(
        &[w("lora_A.one.weight", &[2, 20]), w("lora_A.two.weight", &[2, 20])],
        "are both the lora_down or lora_A",
    );

    let bias = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.diff_b";
    let (_folder, path) = saved(&Tensors::from([(bias.to_owned(), zeros(&[20]))]));
    let message = refusal(&pipeline, &path);
    assert!(message.contains("attn1_to_q of the unet has no bias"), "{message}");
}

#[test]
fn embeddings_in_a_lora_are_read_and_give_a_warning() {
    let pipeline = pipeline();
    let mut all = peft();
    all.insert("bundle_emb.my.word.clip_l".into(), zeros(&[2, 16]));
    all.insert("bundle_emb.my.word.clip_g".into(), zeros(&[2, 24]));
    all.insert("bundle_emb.other.clip_g".into(), zeros(&[24]));
    let (_folder, path) = saved(&all);
    let file = LoraFile::open(&path).expect("a LoRA");
    let [word, other] = file.embeddings() else { panic!("{:?}", file.embeddings()) };
    let dims = |tensor: &Option<Tensor>| tensor.as_ref().map(|t| t.dims().to_vec());
    assert_eq!(
        (&word.name[..], dims(&word.clip_l), dims(&word.clip_g)),
        ("my.word", Some(vec![2, 16]), Some(vec![2, 24]))
    );
    assert_eq!(
        (&other.name[..], dims(&other.clip_l), dims(&other.clip_g)),
        ("other", None, Some(vec![1, 24]))
    );

    let inputs = with(&path, 1.0);
    let denoising = pipeline.begin(&inputs).expect("begins");
    let warning = PipelineWarning::LoraEmbeddingsIgnored {
        lora: "lora.safetensors".into(),
        words: vec!["my.word".into(), "other".into()],
    };
    assert_eq!(pipeline.warnings(&denoising), [warning]);
    let plain = parity().join("variants/peft.safetensors");
    assert!(latents(&pipeline, &inputs) == latents(&pipeline, &with(&plain, 1.0)));
    assert!(pipeline.warnings(&pipeline.begin(&with(&plain, 1.0)).expect("begins")).is_empty());

    all.insert("bundle_emb.cube.clip_l".into(), zeros(&[2, 2, 2]));
    let (_folder, path) = saved(&all);
    let message = refusal(&pipeline, &path);
    assert!(message.contains("bundle_emb.cube.clip_l has shape [2, 2, 2]"), "{message}");
}

#[test]
fn the_unet_and_the_text_encoders_have_their_own_strengths() {
    let pipeline = pipeline();
    let all = peft();
    let part = |is_wanted: &dyn Fn(&str) -> bool| {
        saved(&all.iter().filter(|(name, _)| is_wanted(name)).map(|(n, t)| (n.clone(), t.clone())).collect())
    };
    let (_one, unet) = part(&|name| name.starts_with("unet."));
    let (_two, text) = part(&|name| !name.starts_with("unet."));
    let whole = parity().join("variants/peft.safetensors");
    let mut apart = with(&unet, 0.4);
    apart.loras.push(LoraChoice::file(&text, -0.5));
    let expected = latents(&pipeline, &apart);
    let scaled = |scale, unet_scale, text_scale| {
        let mut inputs = with(&whole, scale);
        (inputs.loras[0].unet_scale, inputs.loras[0].text_scale) = (unet_scale, text_scale);
        latents(&pipeline, &inputs)
    };
    assert!(scaled(1.0, Some(0.4), Some(-0.5)) == expected);
    assert!(scaled(0.4, None, Some(-0.5)) == expected);
    assert!(scaled(-0.5, Some(0.4), None) == expected);
    assert!(scaled(0.4, None, None) != expected);
}
