//! Embeddings in a LoRA file, and a strength for each part of the model.

use candle_core::Tensor;
use glimpse_worker::{
    pipeline::{LoraChoice, Pipeline, PipelineWarning},
    sdxl::lora::LoraFile,
};

use crate::{fixture::pipeline, latents, peft, refusal, saved, support::parity, with, zeros};

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
