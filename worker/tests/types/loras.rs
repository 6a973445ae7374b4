//! LoRA files of every dtype.

use std::path::{Path, PathBuf};

use glimpse_worker::pipeline::{Inputs, LoraChoice, Pipeline, PipelineError};
use safetensors::tensor::Dtype;
use tempfile::TempDir;

use crate::{
    files::{StoredTensor, Tensors, WEIGHTS, encode, read, write},
    model::{ModelCopy, inputs, latents},
    support::parity,
};

fn lora(change: impl FnOnce(&mut Tensors)) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("changed.safetensors");
    let mut all = read(&parity().join("variants/kohya_sgm.safetensors"));
    change(&mut all);
    write(&path, &all);
    (folder, path)
}

fn with(path: &Path) -> Inputs {
    Inputs { loras: vec![LoraChoice::file(path, 1.0)], ..inputs() }
}

#[test]
fn an_alpha_of_every_dtype_and_shape_is_read() {
    let pipeline = ModelCopy::new().load().expect("loads");
    let alphas = |kind, shape: &[usize]| {
        let (_folder, path) = lora(|all| {
            let names: Vec<String> = all
                .keys()
                .filter_map(|name| Some(format!("{}.alpha", name.strip_suffix(".lora_up.weight")?)))
                .collect();
            for name in names {
                all.insert(name, StoredTensor { kind, shape: shape.to_vec(), bytes: encode(kind, 1) });
            }
        });
        latents(&pipeline, &with(&path))
    };
    let right = alphas(Dtype::F32, &[]);
    for kind in WEIGHTS.into_iter().chain([Dtype::F8_E8M0]) {
        for shape in [&[][..], &[1], &[1, 1]] {
            assert!(alphas(kind, shape) == right, "{kind:?} {shape:?}");
        }
    }
}

#[test]
fn a_lora_of_every_dtype_is_read() {
    let pipeline = ModelCopy::new().load().expect("loads");
    for kind in WEIGHTS {
        let [stored, upcast] = [kind, Dtype::F32].map(|kind| {
            let (_folder, path) = lora(|all| {
                for (_, entry) in all.iter_mut().filter(|(name, _)| name.ends_with(".weight")) {
                    let count: usize = entry.shape.iter().product();
                    let bytes = (0..count).flat_map(|i| encode(kind, i8::from(i % 7 == 0))).collect();
                    (entry.kind, entry.bytes) = (kind, bytes);
                }
            });
            latents(&pipeline, &with(&path))
        });
        assert!(stored == upcast, "{kind:?}");
    }
}

#[test]
fn unusable_tensors_of_a_lora_are_named() {
    let pipeline = ModelCopy::new().load().expect("loads");
    let up = "lora_unet_middle_block_1_proj_in.lora_up.weight";
    let alpha = "lora_unet_middle_block_1_proj_in.alpha";
    let put = |name: &'static str, kind, shape: &[usize], bytes: Vec<u8>| {
        let shape = shape.to_vec();
        move |all: &mut Tensors| drop(all.insert(name.into(), StoredTensor { kind, shape, bytes }))
    };
    let refused = |change: &dyn Fn(&mut Tensors), parts: [&str; 2]| {
        let (_folder, path) = lora(change);
        let message = match pipeline.begin(&with(&path)) {
            Err(PipelineError::BadRequest { field: "loras", message }) => message,
            other => panic!("{other:?}"),
        };
        assert!(message.starts_with("changed.safetensors: "), "{message}");
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}"));
    };
    let once = |f: &dyn Fn(&mut Tensors), parts| refused(f, parts);
    once(&|all| put(alpha, Dtype::C64, &[], vec![0; 8])(all), [alpha, "C64"]);
    once(&|all| put(alpha, Dtype::F4, &[2], vec![0x22])(all), [alpha, "[2]"]);
    once(&|all| put(alpha, Dtype::F32, &[2], vec![0; 8])(all), [alpha, "[2]"]);
    once(&|all| put(alpha, Dtype::F32, &[], f32::NAN.to_le_bytes().into())(all), [alpha, "finite"]);
    once(&|all| put(alpha, Dtype::F64, &[], f64::INFINITY.to_le_bytes().into())(all), [alpha, "finite"]);
    // The alpha is finite, but the product is not.
    let large = 1e300_f64.to_le_bytes();
    once(&|all| put(alpha, Dtype::F64, &[], large.into())(all), ["middle_block_1_proj_in", "finite"]);
    let retyped = |all: &mut Tensors| {
        let entry = all.get_mut(up).expect("there");
        entry.bytes = vec![0x22; entry.shape.iter().product::<usize>() / 2];
        entry.kind = Dtype::F4;
    };
    once(&retyped, [up, "F4"]);
}
