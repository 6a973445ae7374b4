//! Compares tokenizers, text encoders and single modules with transformers and diffusers. They show the first module
//! that differs if a whole request fails.

#[cfg(test)]
#[path = "support/close.rs"]
mod close;
#[cfg(test)]
#[path = "support/numbers.rs"]
mod numbers;
#[cfg(test)]
mod support;
#[cfg(test)]
#[path = "support/tensors.rs"]
mod tensors;
#[cfg(test)]
#[path = "stages/transformers.rs"]
mod transformers;

use candle_core::{DType, Device, Tensor};
use close::assert_close;
use glimpse_worker::sdxl::clip::{ClipConfig, ClipTextModel};
use glimpse_worker::sdxl::taesd::{Taesd, TaesdConfig};
use glimpse_worker::sdxl::tokenizer::ClipTokenizer;
use glimpse_worker::sdxl::unet::{Unet, UnetConfig, UnetInputs};
use glimpse_worker::sdxl::vae::{Vae, VaeConfig};
use glimpse_worker::sdxl::{ConfigFiles, Precision, Settings, Taps, WeightFiles};
use numbers::numbers;
use serde::Deserialize;
use support::parity;
use tensors::{Tensors, load};

/// The limit of a single module, whose f32 error is below 1e-6.
const MODULE: f64 = 2e-5;

#[cfg(test)]
fn settings(folder: &str) -> Settings {
    ConfigFiles::Folder(parity().join(folder)).settings("config.json", "a component").expect("config.json")
}

#[cfg(test)]
fn weights(folder: &str, stem: &str) -> std::rc::Rc<WeightFiles> {
    let folder = parity().join(folder);
    WeightFiles::open(&folder, stem, Precision::Full, DType::F32, &Device::Cpu).expect("weights")
}

#[cfg(test)]
fn text_encoder(index: usize) -> ClipTextModel {
    let folder = ["model/text_encoder", "model/text_encoder_2"][index];
    let config = ClipConfig::read(&settings(folder)).expect("supported");
    ClipTextModel::new(&weights(folder, "model"), config, index == 1).expect("weights")
}

#[cfg(test)]
fn tokenizer(index: usize) -> ClipTokenizer {
    let folder = parity().join(["model/tokenizer", "model/tokenizer_2"][index]);
    ClipTokenizer::open(&ConfigFiles::Folder(folder)).expect("tokenizer")
}

#[cfg(test)]
fn ids(tensors: &Tensors, name: &str) -> Vec<u32> {
    numbers(&tensors[name]).into_iter().map(|id| id as u32).collect()
}

#[test]
fn tokenizers_give_the_ids_of_transformers() {
    #[derive(Deserialize)]
    struct Row {
        text: String,
        ids_1: Vec<u32>,
        ids_2: Vec<u32>,
        untruncated_len: usize,
    }
    let text = std::fs::read_to_string(parity().join("tokenizer_cases.json")).expect("the table");
    let rows: Vec<Row> = serde_json::from_str(&text).expect("the table");
    assert!(rows.len() > 40);
    let (first, second) = (tokenizer(0), tokenizer(1));
    for row in rows {
        let [a, b] = [&first, &second].map(|t| t.encode(&row.text).expect("ids"));
        assert_eq!(a.ids[..row.ids_1.len()], row.ids_1, "{:?} in the first tokenizer", row.text);
        assert_eq!(b.ids[..row.ids_2.len()], row.ids_2, "{:?} in the second tokenizer", row.text);
        // The table has the length of the second tokenizer, which counts every "!".
        assert_eq!(b.untruncated, row.untruncated_len, "length of {:?}", row.text);
        // The first pads with its end token, the second with "!", id 0.
        let end = row.ids_1.last().copied().expect("an end token");
        assert!(a.ids.len() == 77 && a.ids[row.ids_1.len()..].iter().all(|id| *id == end));
        assert!(b.ids.len() == 77 && b.ids[row.ids_2.len()..].iter().all(|id| *id == 0));
    }
}

#[test]
fn a_long_prompt_keeps_its_end_token() {
    let tokenizer = tokenizer(0);
    let encoded = tokenizer.encode(&"cat ".repeat(200)).expect("ids");
    assert_eq!((encoded.ids.len(), encoded.untruncated), (77, 202));
    assert_eq!(encoded.ids.last(), tokenizer.encode("").expect("ids").ids.last());
}

#[test]
fn odd_prompts_have_the_embeddings_of_transformers() {
    let expected = load(parity().join("text_cases.safetensors"));
    let encoders = [text_encoder(0), text_encoder(1)];
    for case in 0..4 {
        let encoded = [0, 1].map(|i| {
            encoders[i].forward(&ids(&expected, &format!("{case}.input_ids_{}", i + 1))).expect("encoded")
        });
        let hidden = encoded.each_ref().map(|e| &e.hidden_states[e.hidden_states.len() - 2]);
        let embeds = Tensor::cat(&hidden, 2).expect("one row each");
        let name = format!("{case}.prompt_embeds");
        assert_close(&name, &embeds, &expected[&name], MODULE);
        let name = format!("{case}.pooled_prompt_embeds");
        assert_close(&name, &encoded[1].pooled, &expected[&name], MODULE);
    }
}

#[test]
fn every_layer_of_the_text_encoders() {
    let taps = load(parity().join("taps.safetensors"));
    for (index, name) in ["te1", "te2"].into_iter().enumerate() {
        let encoded =
            text_encoder(index).forward(&ids(&taps, &format!("input_ids_{}", index + 1))).expect("encoded");
        for (i, hidden) in encoded.hidden_states.iter().enumerate() {
            let name = format!("{name}.hidden_states.{i}");
            assert_close(&name, hidden, &taps[&name], MODULE);
        }
        assert!(!taps.contains_key(&format!("{name}.hidden_states.{}", encoded.hidden_states.len())));
        let name = format!("{name}.last_hidden_state");
        assert_close(&name, &encoded.last_hidden_state, &taps[&name], MODULE);
        if index == 1 {
            assert_close("te2.text_embeds", &encoded.pooled, &taps["te2.text_embeds"], MODULE);
        }
    }
}

/// Compares the outputs of a forward pass with the fixtures, and returns how many modules were compared.
#[cfg(test)]
fn compare(prefix: &str, taps: &Tensors, run: impl FnOnce(&mut Taps<'_>)) -> usize {
    let mut seen = 0;
    let mut observer = |name: &str, output: &Tensor| {
        let name = format!("{prefix}.{name}");
        if let Some(expected) = taps.get(&name) {
            assert_close(&name, output, expected, MODULE);
            seen += 1;
        }
    };
    run(&mut Taps::to(&mut observer));
    seen
}

#[test]
fn every_module_of_the_unet() {
    let taps = load(parity().join("taps.safetensors"));
    let config = UnetConfig::read(&settings("model/unet")).expect("supported");
    let unet =
        Unet::new(&weights("model/unet", "diffusion_pytorch_model"), config, DType::F32).expect("unet");
    let time_ids = numbers(&taps["unet.time_ids"]);
    let inputs = UnetInputs {
        sample: taps["unet.sample"].clone(),
        timesteps: vec![numbers(&taps["unet.timestep"])[0] as f32],
        encoder_hidden_states: taps["unet.encoder_hidden_states"].clone(),
        text_embeds: taps["unet.text_embeds"].clone(),
        time_ids: vec![time_ids.iter().map(|id| *id as f32).collect()],
    };
    let seen = compare("unet", &taps, |taps| {
        unet.forward_observed(&inputs, taps).expect("a prediction");
    });
    assert_eq!(seen, 45, "modules whose output is pinned");
}

#[test]
fn every_module_of_the_decoders() {
    let taps = load(parity().join("taps.safetensors"));
    let config = VaeConfig::read(&settings("model/vae")).expect("supported");
    let vae = Vae::new(&weights("model/vae", "diffusion_pytorch_model"), config).expect("vae");
    let latents = &taps["vae.latents"];
    let seen = compare("vae", &taps, |taps| {
        vae.decode_observed(latents, taps).expect("a picture");
    });
    assert_eq!(seen, 8, "modules whose output is pinned");

    let config = TaesdConfig::read(&settings("taesdxl")).expect("supported");
    let taesd = Taesd::new(&weights("taesdxl", "diffusion_pytorch_model"), config).expect("taesd");
    let latents = (latents * 2.0).expect("twice");
    let seen = compare("taesd", &taps, |taps| {
        taesd.decode_observed(&latents, taps).expect("a picture");
    });
    assert_eq!(seen, 7, "layers whose output is pinned");
}

#[test]
fn the_encoder_of_the_autoencoder() {
    let taps = load(parity().join("taps.safetensors"));
    let config = VaeConfig::read(&settings("model/vae")).expect("supported");
    let vae = Vae::new(&weights("model/vae", "diffusion_pytorch_model"), config).expect("vae");
    let posterior = vae.encode(&taps["enc.image"]).expect("latents");
    assert_close("enc.mean", &posterior.mean, &taps["enc.mean"], MODULE);
    assert_close("enc.logvar", &posterior.logvar, &taps["enc.logvar"], MODULE);
}
