//! Weights of every dtype.

use candle_core::{DType, Device, Tensor};
use glimpse_worker::pipeline::{LoadOptions, SdxlPipeline};
use safetensors::tensor::Dtype;

use crate::{
    files::{StoredTensor, Tensors, WEIGHTS, encode, read, write},
    model::{BIASES, ModelCopy, inputs, latents},
    support::parity,
};

#[test]
fn weights_of_every_dtype_equal_the_same_numbers_in_float32() {
    for kind in WEIGHTS {
        let (stored, upcast) = (ModelCopy::new(), ModelCopy::new());
        // Negative numbers and numbers above 1, if the dtype has them.
        let numbers: &[i8] = match kind {
            Dtype::BOOL => &[0, 1, 1],
            Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => &[0, 1, 3],
            _ => &[0, -1, 3],
        };
        for (file, name) in BIASES {
            let put = |all: &mut Tensors, kind| {
                let entry = all.get_mut(name).expect("there");
                entry.kind = kind;
                let count: usize = entry.shape.iter().product();
                entry.bytes = numbers.iter().cycle().take(count).flat_map(|n| encode(kind, *n)).collect();
            };
            stored.change(file, |all| put(all, kind));
            upcast.change(file, |all| put(all, Dtype::F32));
        }
        assert!(stored.picture() == upcast.picture(), "{kind:?}");
    }
}

/// All weights of the UNet in E5M2, which is the upper byte of float16.
#[test]
fn a_unet_in_e5m2_equals_the_same_numbers_in_float16() {
    let folder = tempfile::tempdir().expect("a folder");
    let load = |change: &dyn Fn(&mut StoredTensor)| {
        let mut all = read(&parity().join("variants/model.safetensors"));
        all.iter_mut()
            .filter(|(name, _)| name.starts_with("model.diffusion_model."))
            .for_each(|(_, stored)| change(stored));
        let path = folder.path().join("model.safetensors");
        write(&path, &all);
        let pipeline = SdxlPipeline::load(LoadOptions {
            config: Some(parity().join("model")),
            taesd: Some(parity().join("taesdxl")),
            ..LoadOptions::cpu(path)
        });
        latents(&pipeline.unwrap_or_else(|e| panic!("{e}")), &inputs())
    };
    let small = load(&|stored| {
        assert_eq!(stored.kind, Dtype::F16);
        stored.bytes = stored.bytes.chunks(2).map(|half| half[1]).collect();
        stored.kind = Dtype::F8_E5M2;
    });
    let upcast = load(&|stored| stored.bytes.chunks_mut(2).for_each(|half| half[0] = 0));
    assert!(small == upcast);
}

#[test]
fn scaled_8_bit_weights_are_multiplied_by_their_scale() {
    let (file, module) = ("unet/diffusion_pytorch_model.safetensors", "mid_block.attentions.0.proj_in");
    let weight = format!("{module}.weight");
    let bits = |all: &Tensors| -> Vec<u8> {
        let count: usize = all[&weight].shape.iter().product();
        (0..count).map(|i| (i * 37 % 0x60) as u8 | ((i % 2) as u8) << 7).collect()
    };
    // One scale for all rows, with the old and the new name, and one scale per row.
    let rows = read(&parity().join("model").join(file))[&weight].shape[0];
    for (ending, shape, scales) in [
        ("scale_weight", vec![], vec![0.25_f32]),
        ("scale_weight", vec![1], vec![0.25]),
        ("weight_scale", vec![], vec![0.25]),
        ("weight_scale_inv", vec![1, 1], vec![0.25]),
        ("weight_scale", vec![rows, 1], (0..rows).map(|row| 0.125 + row as f32 / 256.0).collect()),
    ] {
        let (stored, upcast) = (ModelCopy::new(), ModelCopy::new());
        stored.change(file, |all| {
            let bytes = bits(all);
            let entry = all.get_mut(&weight).expect("there");
            (entry.kind, entry.bytes) = (Dtype::F8_E4M3, bytes);
            let bytes = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
            all.insert(format!("{module}.{ending}"), StoredTensor { kind: Dtype::F32, shape, bytes });
            let one = || StoredTensor { kind: Dtype::F32, shape: vec![], bytes: 1_f32.to_le_bytes().into() };
            all.insert(format!("{module}.scale_input"), one());
            let mark = StoredTensor { kind: Dtype::F8_E4M3, shape: vec![2], bytes: vec![0, 0] };
            all.insert("scaled_fp8".into(), mark);
        });
        upcast.change(file, |all| {
            let bytes = bits(all);
            let entry = all.get_mut(&weight).expect("there");
            let numbers = Tensor::from_raw_buffer(&bytes, DType::F8E4M3, &[bytes.len()], &Device::Cpu)
                .and_then(|t| t.to_dtype(DType::F32)?.to_vec1::<f32>())
                .expect("numbers");
            let part = numbers.len() / scales.len();
            let scaled = numbers.iter().enumerate().map(|(i, number)| number * scales[i / part]);
            entry.bytes = scaled.flat_map(f32::to_le_bytes).collect();
            entry.kind = Dtype::F32;
        });
        assert!(stored.picture() == upcast.picture(), "{ending} {}", scales.len());
    }
}

#[test]
fn integers_without_other_tensors_are_weights() {
    let (file, weight) =
        ("unet/diffusion_pytorch_model.safetensors", "mid_block.attentions.0.proj_in.weight");
    let (stored, upcast) = (ModelCopy::new(), ModelCopy::new());
    for (copy, kind) in [(&stored, Dtype::I8), (&upcast, Dtype::F32)] {
        copy.change(file, |all| {
            let entry = all.get_mut(weight).expect("there");
            let count: usize = entry.shape.iter().product();
            (entry.kind, entry.bytes) =
                (kind, (0..count).flat_map(|i| encode(kind, (i % 5) as i8 - 2)).collect());
        });
    }
    assert!(stored.picture() == upcast.picture());
}
