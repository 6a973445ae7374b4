//! The changed weights of every form.

use std::collections::BTreeMap;

use candle_core::DType;
use glimpse_worker::sdxl::lora::{Change, LoraFile, LoraTarget, ModuleName, Slot, merged};

use crate::{
    close::{assert_close, relative},
    numbers::numbers,
    support::parity,
    tensors::load,
};

/// The limit of the relative L2 error of a changed weight.
const LIMIT: f64 = 1e-5;

fn component(name: &str) -> (&'static str, LoraTarget) {
    match name {
        "unet" => ("unet/diffusion_pytorch_model.safetensors", LoraTarget::Unet),
        "text_encoder" => ("text_encoder/model.safetensors", LoraTarget::AnyTextEncoder),
        _ => ("text_encoder_2/model.safetensors", LoraTarget::AnyTextEncoder),
    }
}

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
