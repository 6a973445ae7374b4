//! Weights and files that cannot be used.

use std::fs;

use glimpse_worker::sdxl::Shards;
use safetensors::tensor::Dtype;

use crate::{
    files::{StoredTensor, Tensors, read},
    model::{BIASES, ModelCopy},
    support::parity,
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
fn scales_of_an_unknown_meaning_and_descriptions_without_a_scale_are_named() {
    let file = "unet/diffusion_pytorch_model.safetensors";
    let module = "mid_block.attentions.0.proj_in";
    let text = |text: &str| (Dtype::U8, text.as_bytes().to_vec());
    let one = || (Dtype::F32, 1_f32.to_le_bytes().to_vec());
    for (kind, ending, (kind_beside, bytes), format) in [
        (Dtype::F8_E4M3, "weight.scale", one(), "unknown"),
        (Dtype::F8_E4M3, "scale", one(), "unknown"),
        (Dtype::F8_E5M2, "amax", one(), "unknown"),
        (Dtype::F16, "scale", one(), "unknown"),
        (Dtype::F16, "weight_zero_point", one(), "unknown"),
        (Dtype::I8, "comfy_quant", text(r#"{"format":"int8"}"#), "int8"),
        (Dtype::F8_E4M3, "comfy_quant", text(r#"{"format":"float8_e4m3fn"}"#), "without their scale"),
    ] {
        let copy = ModelCopy::new();
        copy.change(file, |all| {
            let entry = all.get_mut(&format!("{module}.weight")).expect("there");
            let size = entry.bytes.len() / 4 * if kind == Dtype::F16 { 2 } else { 1 };
            (entry.kind, entry.bytes) = (kind, vec![0x11; size]);
            let shape = if bytes.len() == 4 { vec![] } else { vec![bytes.len()] };
            all.insert(format!("{module}.{ending}"), StoredTensor { kind: kind_beside, shape, bytes });
        });
        let error = copy.load_error();
        let expected = format!("{module}.weight is quantised, as {module}.{ending} beside it shows");
        assert!(error.contains(&expected) && error.contains(format), "{error}");
    }
}

#[test]
fn a_scale_that_cannot_be_used_is_named() {
    let file = "unet/diffusion_pytorch_model.safetensors";
    let module = "time_embedding.linear_1";
    let float = |number: f32| (Dtype::F32, vec![], number.to_le_bytes().to_vec());
    let rows = read(&parity().join("model").join(file))[&format!("{module}.weight")].shape[0];
    for ((kind, shape, bytes), expected) in [
        ((Dtype::C64, vec![], vec![0; 8]), "which is of type C64"),
        (float(f32::NAN), "which has numbers that are not finite"),
        (
            (Dtype::F64, vec![], 1e300_f64.to_le_bytes().to_vec()),
            "which has numbers beyond what float32 can hold",
        ),
        // One scale per column.
        ((Dtype::F8_E4M3, vec![1, rows], vec![0x11; rows]), "which has shape [1, "),
    ] {
        let copy = ModelCopy::new();
        copy.change(file, |all| {
            all.insert(format!("{module}.scale_weight"), StoredTensor { kind, shape, bytes });
        });
        let error = copy.load_error();
        let scale = format!("{module}.weight has the scale {module}.scale_weight, {expected}");
        assert!(error.contains(&scale), "{error}");
    }
    // The scale and the weight are finite, but not their product.
    let copy = ModelCopy::new();
    copy.change(file, |all| {
        let entry = all.get_mut(&format!("{module}.weight")).expect("there");
        entry.bytes = 1e30_f32.to_le_bytes().repeat(entry.bytes.len() / 4);
        let (kind, shape, bytes) = float(1e30);
        all.insert(format!("{module}.scale_weight"), StoredTensor { kind, shape, bytes });
    });
    let error = copy.load_error();
    let product = format!("has numbers times its scale {module}.scale_weight beyond what float32 can hold");
    assert!(error.contains(&product), "{error}");
}

#[test]
fn numbers_beyond_float32_are_told_from_numbers_that_are_not_finite() {
    for (number, expected) in [(1e300_f64, "beyond what float32 can hold"), (f64::NAN, "not finite (NaN")] {
        let copy = ModelCopy::new();
        copy.change("unet/diffusion_pytorch_model.safetensors", |all| {
            let entry = all.get_mut("conv_in.bias").expect("there");
            (entry.kind, entry.bytes) = (Dtype::F64, number.to_le_bytes().repeat(entry.bytes.len() / 4));
        });
        let error = copy.load_error();
        assert!(error.contains("conv_in.bias has numbers") && error.contains(expected), "{error}");
    }
}

/// A safetensors file with this header.
#[cfg(test)]
fn file(header: &str, tensors: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; tensors]].concat()
}

/// The error of a file that cannot be opened, without its path.
#[cfg(test)]
fn refused(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    let error = Shards::open(&path).expect_err("refused").to_string();
    error.strip_prefix(&format!("{}: ", path.display())).expect("the path").to_owned()
}

#[test]
fn files_of_other_kinds_are_named() {
    let tar = [&[b'x'; 257][..], b"ustar", &[0; 250]].concat();
    let utf16 = "<html>".encode_utf16().flat_map(u16::to_le_bytes);
    let utf16: Vec<u8> = [0xFF, 0xFE].into_iter().chain(utf16).collect();
    for (bytes, expected) in [
        (&b""[..], "the file is empty"),
        (b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0", "a GGUF file"),
        (b"PK\x03\x04 and so on and so on", "a PyTorch pickle"),
        (b"\x80\x02}q\x00. and so on and so on", "a PyTorch pickle"),
        (b"\x80\x03}q\x00. and so on and so on", "a PyTorch pickle"),
        (b"\x80\x04\x95\0\0\0\0\0\0\0\0\0\0", "a PyTorch pickle"),
        (b"\x80\x05\x95\0\0\0\0\0\0\0\0\0\0", "a PyTorch pickle"),
        (&tar, "a PyTorch pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
        (b"version https://hawser.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"# xet version 0\nfilesize = 5\n", "a Xet pointer"),
        (b"<!DOCTYPE html><html><body>Please log in</body></html>", "a web page"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>", "a web page"),
        (b"<?xml version=\"1.0\"?><Error>AccessDenied</Error>", "a web page"),
        (&utf16, "a web page"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0", "a compressed archive"),
        (b"7z\xbc\xaf\x27\x1c\0\0\0\0\0\0", "a compressed archive"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0", "a picture"),
        (b"\xff\xd8\xff\xe0\0\0\0\0\0\0", "a picture"),
        (&[0; 1000], "not a safetensors file: it begins with zeroes"),
        (b"Entry not found", "not a safetensors file: it begins with the text \"Entry not found\""),
        (b"{\"error\":\"Unauthorized\"}", "not a safetensors file: it begins with the text \"{\\\"error"),
        (b"abc", "not a safetensors file: it begins with the text \"abc\""),
        (
            b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a",
            "not a safetensors file: it does not begin with a header",
        ),
    ] {
        let error = refused("x.pt", bytes);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn truncated_files_and_wrong_headers_are_told_apart() {
    let tensor =
        |rest: &str| format!(r#"{{"first.bias":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},{rest}}}"#);
    let second = tensor(r#""second.bias":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#);
    for (bytes, expected) in [
        (file(&second, 16)[..4].to_vec(), "it has 4 bytes"),
        (file(&second, 16)[..60].to_vec(), "its header should have"),
        (file(&second, 8), "second.bias ends at byte 16"),
    ] {
        let error = refused("x.safetensors", &bytes);
        assert!(error.starts_with("not a whole safetensors file (is it cut?): "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let entry = |entry: &str| tensor(&format!(r#""second.bias":{entry}"#));
    for (header, expected) in [
        (second.clone(), "it has 4 bytes after its last tensor"),
        (
            entry(r#"{"dtype":"F32","shape":[3],"data_offsets":[8,16]}"#),
            "second.bias has 8 bytes, and the shape [3]",
        ),
        (
            entry(r#"{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[8,16]}"#),
            "second.bias has the shape [4611686018427387904, 4], which is too large",
        ),
        (
            entry(r#"{"dtype":"F4","shape":[1],"data_offsets":[8,8]}"#),
            "second.bias has the shape [1], which is not a",
        ),
        (
            entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[12,20]}"#),
            "second.bias is at the bytes 12 to 20",
        ),
        (entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#), "second.bias is at the bytes 8 to 0"),
        (entry(r#"{"dtype":"F32","shape":[-2],"data_offsets":[8,16]}"#), "second.bias has the shape [-2]"),
        (entry(r#"{"dtype":"F32","shape":[2]}"#), "second.bias has no data_offsets"),
        (entry(r#"{"dtype":null,"shape":[2],"data_offsets":[8,16]}"#), "second.bias has the dtype null"),
        (entry("5"), "second.bias has no dtype"),
        (tensor(r#""__metadata__":{"step":1}"#), r#"in __metadata__, "step" is 1, not a text"#),
        (tensor(r#""__metadata__":["x"]"#), r#"__metadata__ is ["x"], not an object of texts"#),
        ("[]".to_owned(), "its header is not a JSON object"),
        ("{\"x\":".to_owned(), "its header is not a JSON object"),
    ] {
        let error = refused("x.safetensors", &file(&header, 20));
        assert!(error.starts_with("not a valid safetensors file: "), "{error}");
        assert!(error.contains(expected) && !error.contains("cut?"), "{error}");
    }
    // An unknown dtype is named as a dtype, whatever the metadata is.
    for metadata in
        [r#""__metadata__":null"#, r#""__metadata__":{"a":"b"}"#, r#""__metadata__":{"dtype":{}}"#]
    {
        let unknown = entry(r#"{"dtype":"F3_E1M1","shape":[8],"data_offsets":[8,16]}"#);
        let error = refused("x.safetensors", &file(&format!("{{{metadata},{}", &unknown[1..]), 16));
        assert_eq!(error, "second.bias is of type F3_E1M1, which is not supported");
    }
    let long = format!(r#"{{"{}":{{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}}}"#, "x".repeat(50_000));
    assert!(refused("x.safetensors", &file(&long, 8)).len() < 500);
}

#[test]
fn what_is_not_a_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).expect("made");
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");
    std::os::unix::fs::symlink("nowhere", at("dangling")).expect("linked");
    std::os::unix::fs::symlink("loop", at("loop")).expect("linked");
    for (path, expected) in [
        (at("folder"), "is a folder, not "),
        (at("socket"), "is a socket, not "),
        (at("dangling"), "is a link to something that does not exist, not "),
        (at("loop"), "symbolic links"),
        (at("none"), "not found ("),
        ("/dev/zero".into(), "is a device, not "),
    ] {
        let error = Shards::open(&path).expect_err("refused").to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())) && error.contains(expected), "{error}");
    }
    drop(socket);
}
