//! Damaged JSON files and tokenizers.

use glimpse_test_support::fuzz::{self, Change, changes, damages};
use serde_json::{Value, json};

use crate::copy::Copy;

const JSON: [&str; 12] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "tokenizer_2/tokenizer_config.json",
    "unet/config.json",
    "vae/config.json",
    "taesd/config.json",
    "unet/diffusion_pytorch_model.safetensors.index.json",
];

/// A copy whose UNet has one shard and an index.
fn sharded() -> Copy {
    let copy = Copy::folder();
    let weights = "unet/diffusion_pytorch_model";
    let shard = copy.path(&format!("{weights}-1.safetensors"));
    std::fs::rename(copy.path(&format!("{weights}.safetensors")), shard).expect("renamed");
    let name = "diffusion_pytorch_model-1.safetensors";
    let map = json!({ "conv_in.weight": name, "conv_in.bias": name });
    let index = copy.path(&format!("{weights}.safetensors.index.json"));
    std::fs::write(index, json!({ "metadata": {}, "weight_map": map }).to_string()).expect("written");
    copy
}

#[test]
fn undamaged_files_load() {
    fuzz::alone(|| {
        for copy in [Copy::folder(), Copy::single(), sharded()] {
            let file = "model_index.json";
            assert_eq!(copy.load_with(&"whole", file, &copy.bytes(file)).expect("named"), None);
        }
    });
}

#[test]
fn a_changed_configuration_is_loaded_or_named() {
    fuzz::alone(|| {
        let copy = sharded();
        let documents =
            JSON.map(|file| (file, serde_json::from_slice::<Value>(&copy.bytes(file)).expect("JSON")));
        fuzz::check(200, &(0..JSON.len(), changes()), |(which, changes)| {
            let (file, document) = &documents[which];
            copy.load_with(&(file, &changes), file, Change::all(&changes, document).as_bytes())?;
            Ok(())
        });
    });
}

/// Values that random changes rarely produce.
#[test]
fn each_number_of_each_configuration_may_have_any_value() {
    fuzz::alone(|| {
        let copy = sharded();
        for file in JSON.into_iter().filter(|file| !file.ends_with("vocab.json")) {
            let document: Value = serde_json::from_slice(&copy.bytes(file)).expect("JSON");
            for place in fuzz::numbers(&document) {
                for number in [0, 1 << 32, 1_000_000_000_000_000_001, u64::MAX] {
                    let mut document = document.clone();
                    *document.pointer_mut(&place).expect("a number") = number.into();
                    let loaded =
                        copy.load_with(&(file, &place, number), file, document.to_string().as_bytes());
                    loaded.unwrap_or_else(|error| panic!("{file} {place} {number}: {error}"));
                }
            }
        }
    });
}

#[test]
fn a_damaged_configuration_is_loaded_or_named() {
    fuzz::alone(|| {
        let copy = sharded();
        let files = [&JSON[..], &["tokenizer/merges.txt", "tokenizer_2/vocab.json"]].concat();
        fuzz::check(100, &(0..files.len(), damages()), |(which, damages)| {
            let file = files[which];
            let mut bytes = copy.bytes(file);
            damages.iter().for_each(|damage| damage.apply(&mut bytes));
            copy.load_with(&(file, &damages), file, &bytes)?;
            Ok(())
        });
    });
}

#[test]
fn a_single_files_changed_configuration_is_loaded_or_named() {
    fuzz::alone(|| {
        let copy = Copy::single();
        let files = ["text_encoder_2/config.json", "unet/config.json", "vae/config.json"];
        let documents =
            files.map(|file| (file, serde_json::from_slice::<Value>(&copy.bytes(file)).expect("JSON")));
        fuzz::check(60, &(0..files.len(), changes()), |(which, changes)| {
            let (file, document) = &documents[which];
            copy.load_with(&(file, &changes), file, Change::all(&changes, document).as_bytes())?;
            Ok(())
        });
    });
}
