//! Embeddings in a LoRA file, and a strength for each part of the model.

use candle_core::{Device, Tensor};
use glimpse_worker::{
    pipeline::{EmbeddingChoice, Inputs, LoraChoice, Pipeline, PipelineWarning},
    sdxl::lora::LoraFile,
};

use crate::{
    fixture::pipeline, latents, peft, refusal, saved, support::parity, tensors::Tensors, with, zeros,
};

/// A tensor of another value in each element.
fn wave(shape: &[usize], begin: f32) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|i| (begin + i as f32).sin() * 0.3);
    Tensor::from_iter(values, &Device::Cpu).and_then(|t| t.reshape(shape)).expect("a tensor")
}

#[test]
fn embeddings_in_a_lora_are_words_of_its_request() {
    let pipeline = pipeline();
    let mut all = peft();
    all.insert("bundle_emb.my.word.clip_l".into(), wave(&[2, 16], 1.0));
    all.insert("bundle_emb.my.word.clip_g".into(), wave(&[2, 24], 2.0));
    all.insert("bundle_emb.other.string_to_param.*".into(), wave(&[24], 3.0));
    let (_folder, path) = saved(&all);
    let file = LoraFile::open(&path).expect("a LoRA");
    let names: Vec<_> = file.embeddings().iter().map(|embedding| &embedding.name[..]).collect();
    assert_eq!(names, ["my.word", "other"]);

    let prompt = |inputs: Inputs| Inputs { prompt: "a my.word fox, other".into(), ..inputs };
    let inputs = prompt(with(&path, 1.0));
    assert!(pipeline.warnings(&pipeline.begin(&inputs).expect("begins")).is_empty());
    // The same words in files of their own.
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, tensors: Tensors| {
        let path = folder.path().join(name);
        candle_core::safetensors::save(&tensors, &path).expect("saved");
        EmbeddingChoice::file(path)
    };
    let part = |name: &str, part: &str| (part.to_owned(), all[&format!("bundle_emb.{name}.{part}")].clone());
    let both = Tensors::from([part("my.word", "clip_l"), part("my.word", "clip_g")]);
    let one = Tensors::from([("clip_g".to_owned(), wave(&[1, 24], 3.0))]);
    let peft = parity().join("variants/peft.safetensors");
    let mut apart = prompt(with(&peft, 1.0));
    apart.embeddings = vec![file("my.word.safetensors", both), file("other.safetensors", one)];
    assert!(latents(&pipeline, &inputs) == latents(&pipeline, &apart));
    assert!(latents(&pipeline, &inputs) != latents(&pipeline, &prompt(with(&peft, 1.0))));

    // What cannot be a word of this model is left out.
    all.insert("bundle_emb.wide.clip_g".into(), wave(&[2, 32], 0.0));
    all.insert("bundle_emb.cat</w>.clip_g".into(), wave(&[2, 24], 0.0));
    let (_folder, path) = saved(&all);
    let inputs = prompt(with(&path, 1.0));
    let warning = PipelineWarning::LoraEmbeddingsIgnored {
        lora: "lora.safetensors".into(),
        words: vec!["cat</w>".into(), "wide".into()],
    };
    assert_eq!(pipeline.warnings(&pipeline.begin(&inputs).expect("begins")), [warning]);
    assert!(latents(&pipeline, &inputs) == latents(&pipeline, &apart));

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
