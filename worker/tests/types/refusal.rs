//! Weights and files that cannot be used.

use std::fs;

use safetensors::tensor::Dtype;

use crate::{
    files::{StoredTensor, Tensors},
    model::{BIASES, ModelCopy},
};

#[test]
fn dtypes_that_are_not_supported_are_named() {
    for (kind, bits) in
        [(Dtype::F4, 4), (Dtype::F6_E2M3, 6), (Dtype::F6_E3M2, 6), (Dtype::F8_E8M0, 8), (Dtype::C64, 64)]
    {
        for (file, name) in BIASES {
            let copy = ModelCopy::new();
            let change = |all: &mut Tensors| {
                let entry = all.get_mut(name).expect("there");
                entry.kind = kind;
                // The shape is wrong too, but the error must name the dtype.
                entry.shape.push(8);
                entry.bytes = vec![0x11; entry.shape.iter().product::<usize>() * bits / 8];
            };
            let error = copy.change(file, change).load_error();
            let expected = format!("{name} is of type {kind:?}, which is not supported");
            assert!(error.contains(file) && error.contains(&expected), "{error}");
            assert!(!error.contains("should be"), "{error}");
        }
    }
}

#[test]
fn quantised_weights_are_named_and_not_reported_as_a_wrong_shape() {
    let file = "unet/diffusion_pytorch_model.safetensors";
    let module = "mid_block.attentions.0.proj_in";
    let weight = format!("{module}.weight");
    let stored = |kind, shape: &[usize], bytes: Vec<u8>| StoredTensor { kind, shape: shape.to_vec(), bytes };
    let bytes = |count| stored(Dtype::U8, &[count], vec![1; count]);
    let refused = |format: &str, change: &dyn Fn(&mut Tensors)| {
        let copy = ModelCopy::new();
        let error = copy.change(file, |all| change(all)).load_error();
        assert!(error.contains(file) && error.contains(&weight), "{error}");
        assert!(error.contains("quantised") && error.contains(format), "{error}");
        assert!(!error.contains("should be") && !error.contains("missing"), "{error}");
    };
    refused("bitsandbytes", &|all| {
        let count = all[&weight].bytes.len() / 8;
        all.insert(weight.clone(), stored(Dtype::U8, &[count, 1], vec![1; count]));
        all.insert(format!("{weight}.absmax"), bytes(4));
        all.insert(format!("{weight}.quant_map"), bytes(16));
        all.insert(format!("{weight}.quant_state.bitsandbytes__nf4"), bytes(8));
    });
    refused("bitsandbytes", &|all| {
        let entry = all.get_mut(&weight).expect("there");
        let count = entry.bytes.len() / 4;
        (entry.kind, entry.bytes) = (Dtype::I8, vec![1; count]);
        all.insert(format!("{module}.SCB"), bytes(4));
    });
    refused("GPTQ", &|all| {
        all.remove(&weight);
        all.insert(format!("{module}.qweight"), bytes(4));
        all.insert(format!("{module}.g_idx"), bytes(4));
    });
    refused("quanto", &|all| {
        all.remove(&weight);
        all.insert(format!("{weight}._data"), bytes(4));
        all.insert(format!("{weight}._scale"), bytes(4));
    });
    refused("NVFP4", &|all| {
        all.insert(weight.clone(), bytes(4));
        all.insert(format!("{module}.weight_scale"), bytes(4));
        all.insert(format!("{module}.weight_scale_2"), bytes(1));
    });
    refused("mxfp8", &|all| {
        all.insert(format!("{module}.weight_scale"), bytes(1));
        let text = br#"{"format": "mxfp8"}"#.to_vec();
        all.insert(format!("{module}.comfy_quant"), stored(Dtype::U8, &[text.len()], text));
    });
    refused("unknown", &|all| {
        let entry = all.get_mut(&weight).expect("there");
        let count = entry.bytes.len() / 4;
        (entry.kind, entry.bytes) = (Dtype::I8, vec![1; count]);
        all.insert(format!("{module}.zero_point"), bytes(1));
    });
}

#[test]
fn files_of_other_kinds_are_named() {
    let unknown = br#"{"conv_in.bias":{"dtype":"F3_E1M1","shape":[8],"data_offsets":[0,8]}}"#;
    let unknown = [&(unknown.len() as u64).to_le_bytes()[..], unknown, &[0; 8]].concat();
    for (bytes, expected) in [
        (&b""[..], "empty"),
        (b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0", "GGUF"),
        (b"PK\x03\x04 and so on and so on", "pickle"),
        (b"\x80\x02}q\x00. and so on and so on", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        (b"<!DOCTYPE html><html><body>Please log in</body></html>", "web page"),
        (&unknown, "conv_in.bias is of type F3_E1M1, which is not supported"),
        (b"abc", "cut?"),
    ] {
        let copy = ModelCopy::new();
        let path = copy.0.path().join("unet/diffusion_pytorch_model.safetensors");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, bytes).expect("written");
        let error = copy.load_error();
        assert!(error.contains("unet/diffusion") && error.contains(expected), "{error}");
    }
}
