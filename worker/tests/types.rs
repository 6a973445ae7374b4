//! Numbers of any type are numbers; what cannot be used is named, and never as a shape.

#[cfg(test)]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use glimpse_worker::pipeline::{Inputs, LoadOptions, LoraChoice, Pipeline, PipelineError, SdxlPipeline};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use support::parity;
use tempfile::TempDir;

/// A tensor as a file has it.
#[cfg(test)]
#[derive(Clone)]
struct Stored {
    kind: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

#[cfg(test)]
type File = BTreeMap<String, Stored>;

#[cfg(test)]
fn read(path: &Path) -> File {
    let bytes = fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("tensors");
    let stored = |view: TensorView<'_>| Stored {
        kind: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    file.iter().map(|(name, view)| (name.to_owned(), stored(view))).collect()
}

#[cfg(test)]
fn write(path: &Path, file: &File) {
    let views = file.iter().map(|(name, s)| {
        (name.as_str(), TensorView::new(s.kind, s.shape.clone(), &s.bytes).expect("a tensor"))
    });
    fs::write(path, safetensors::serialize(views, None).expect("a file")).expect("written");
}

/// A number in all types that can hold it: 0 and 1 in every one.
#[cfg(test)]
fn encode(kind: Dtype, number: i8) -> Vec<u8> {
    let float = f32::from(number);
    let tensor =
        |dtype| Tensor::new(&[float], &Device::Cpu).and_then(|t| t.to_dtype(dtype)).expect("a number");
    let converted = |dtype| {
        let file = safetensors::serialize([("x", tensor(dtype))], None).expect("a file");
        SafeTensors::deserialize(&file).and_then(|f| f.tensor("x").map(|x| x.data().to_vec())).expect("bytes")
    };
    let unsigned = number.unsigned_abs();
    match kind {
        Dtype::BOOL | Dtype::U8 => vec![unsigned],
        Dtype::I8 => vec![number.cast_unsigned()],
        Dtype::U16 => u16::from(unsigned).to_le_bytes().into(),
        Dtype::I16 => i16::from(number).to_le_bytes().into(),
        Dtype::U32 => u32::from(unsigned).to_le_bytes().into(),
        Dtype::I32 => i32::from(number).to_le_bytes().into(),
        Dtype::U64 => u64::from(unsigned).to_le_bytes().into(),
        Dtype::I64 => i64::from(number).to_le_bytes().into(),
        Dtype::F16 => converted(DType::F16),
        Dtype::BF16 => converted(DType::BF16),
        Dtype::F32 => float.to_le_bytes().into(),
        Dtype::F64 => f64::from(float).to_le_bytes().into(),
        Dtype::F8_E4M3 => converted(DType::F8E4M3),
        // The upper half of float16.
        Dtype::F8_E5M2 => vec![converted(DType::F16)[1]],
        // A bias that is one higher than without "FNUZ": half of the number.
        Dtype::F8_E4M3FNUZ if number == 0 => vec![0],
        Dtype::F8_E4M3FNUZ => vec![converted(DType::F8E4M3)[0] + 8],
        Dtype::F8_E5M2FNUZ if number == 0 => vec![0],
        Dtype::F8_E5M2FNUZ => vec![converted(DType::F16)[1] + 4],
        // The exponent alone.
        Dtype::F8_E8M0 => vec![127 + (unsigned.ilog2() as u8)],
        other => panic!("{other:?}"),
    }
}

/// Types that weights may have.
#[cfg(test)]
const WEIGHTS: [Dtype; 16] = [
    Dtype::BOOL,
    Dtype::U8,
    Dtype::I8,
    Dtype::U16,
    Dtype::I16,
    Dtype::U32,
    Dtype::I32,
    Dtype::U64,
    Dtype::I64,
    Dtype::F16,
    Dtype::BF16,
    Dtype::F64,
    Dtype::F8_E4M3,
    Dtype::F8_E5M2,
    Dtype::F8_E4M3FNUZ,
    Dtype::F8_E5M2FNUZ,
];

/// The fixtures' checkpoint with changes in it.
#[cfg(test)]
struct Checkpoint(TempDir);

#[cfg(test)]
impl Checkpoint {
    fn new() -> Self {
        fn link(from: &Path, to: &Path) {
            fs::create_dir_all(to).expect("a folder");
            for entry in fs::read_dir(from).expect("a folder").flatten() {
                let (path, to) = (entry.path(), to.join(entry.file_name()));
                if path.is_dir() {
                    link(&path, &to);
                } else if !path.to_string_lossy().contains(".fp16.") {
                    std::os::unix::fs::symlink(&path, to).expect("linked");
                }
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        link(&parity().join("model"), folder.path());
        link(&parity().join("taesdxl"), &folder.path().join("taesd"));
        Self(folder)
    }

    fn change(&self, file: &str, change: impl FnOnce(&mut File)) -> &Self {
        let path = self.0.path().join(file);
        let mut all = read(&path);
        change(&mut all);
        fs::remove_file(&path).expect("removed");
        write(&path, &all);
        self
    }

    fn load(&self) -> Result<SdxlPipeline, String> {
        SdxlPipeline::load(LoadOptions::cpu(self.0.path())).map_err(|error| error.to_string())
    }

    fn picture(&self) -> Vec<f32> {
        latents(&self.load().unwrap_or_else(|e| panic!("{e}")), &inputs())
    }

    fn complaint(&self) -> String {
        self.load().expect_err("refused")
    }
}

#[cfg(test)]
fn inputs() -> Inputs {
    let mut inputs = Inputs::new("a fox", 32, 32);
    inputs.num_inference_steps = 2;
    inputs
}

/// What a job ends with, and the picture and the preview of that.
#[cfg(test)]
fn latents(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<f32> {
    let mut denoising = pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}"));
    for _ in 0..2 {
        pipeline.step(&mut [&mut denoising]).expect("steps");
    }
    let latents = denoising.latents();
    let (picture, preview) = (pipeline.decode(latents), pipeline.decode_preview(latents));
    let numbers = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("numbers");
    [numbers(latents), numbers(&picture.expect("decodes")), numbers(&preview.expect("decodes"))].concat()
}

/// A bias of each component.
#[cfg(test)]
const BIASES: [(&str, &str); 5] = [
    ("text_encoder/model.safetensors", "text_model.final_layer_norm.bias"),
    ("text_encoder_2/model.safetensors", "text_model.final_layer_norm.bias"),
    ("unet/diffusion_pytorch_model.safetensors", "conv_in.bias"),
    ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.bias"),
    ("taesd/diffusion_pytorch_model.safetensors", "decoder.layers.0.bias"),
];

#[test]
fn weights_of_every_type_are_the_numbers_that_they_are_in_float32() {
    for kind in WEIGHTS {
        let (stored, upcast) = (Checkpoint::new(), Checkpoint::new());
        // What the type has: signs, and more than 0 and 1.
        let numbers: &[i8] = match kind {
            Dtype::BOOL => &[0, 1, 1],
            Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => &[0, 1, 3],
            _ => &[0, -1, 3],
        };
        for (file, name) in BIASES {
            let put = |all: &mut File, kind| {
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

/// All weights of the UNet, in the smallest float of all: the upper half of float16.
#[test]
fn a_single_file_with_a_unet_in_e5m2_is_the_same_numbers_in_float16() {
    let folder = tempfile::tempdir().expect("a folder");
    let load = |change: &dyn Fn(&mut Stored)| {
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
fn scaled_8_bit_weights_are_multiplied_with_their_scale() {
    let (file, module) = ("unet/diffusion_pytorch_model.safetensors", "mid_block.attentions.0.proj_in");
    let weight = format!("{module}.weight");
    let bits = |all: &File| -> Vec<u8> {
        let count: usize = all[&weight].shape.iter().product();
        (0..count).map(|i| (i * 37 % 0x60) as u8 | ((i % 2) as u8) << 7).collect()
    };
    // One scale for all, in the older and in the newer naming, and one for each row.
    let rows = read(&parity().join("model").join(file))[&weight].shape[0];
    for (ending, shape, scales) in [
        ("scale_weight", vec![], vec![0.25_f32]),
        ("scale_weight", vec![1], vec![0.25]),
        ("weight_scale", vec![], vec![0.25]),
        ("weight_scale", vec![rows, 1], (0..rows).map(|row| 0.125 + row as f32 / 256.0).collect()),
    ] {
        let (stored, upcast) = (Checkpoint::new(), Checkpoint::new());
        stored.change(file, |all| {
            let bytes = bits(all);
            let entry = all.get_mut(&weight).expect("there");
            (entry.kind, entry.bytes) = (Dtype::F8_E4M3, bytes);
            let bytes = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
            all.insert(format!("{module}.{ending}"), Stored { kind: Dtype::F32, shape, bytes });
            let one = || Stored { kind: Dtype::F32, shape: vec![], bytes: 1_f32.to_le_bytes().into() };
            all.insert(format!("{module}.scale_input"), one());
            let mark = Stored { kind: Dtype::F8_E4M3, shape: vec![2], bytes: vec![0, 0] };
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
fn types_that_cannot_be_used_are_named() {
    for (kind, bits) in
        [(Dtype::F4, 4), (Dtype::F6_E2M3, 6), (Dtype::F6_E3M2, 6), (Dtype::F8_E8M0, 8), (Dtype::C64, 64)]
    {
        for (file, name) in BIASES {
            let checkpoint = Checkpoint::new();
            let change = |all: &mut File| {
                let entry = all.get_mut(name).expect("there");
                entry.kind = kind;
                // Of another shape as well: that is not what is wrong first.
                entry.shape.push(8);
                entry.bytes = vec![0x11; entry.shape.iter().product::<usize>() * bits / 8];
            };
            let complaint = checkpoint.change(file, change).complaint();
            let expected = format!("{name} is of type {kind:?}, which is not supported");
            assert!(complaint.contains(file) && complaint.contains(&expected), "{complaint}");
            assert!(!complaint.contains("should be"), "{complaint}");
        }
    }
}

#[test]
fn quantised_weights_are_named_as_such_and_never_as_a_shape() {
    let file = "unet/diffusion_pytorch_model.safetensors";
    let module = "mid_block.attentions.0.proj_in";
    let weight = format!("{module}.weight");
    let stored = |kind, shape: &[usize], bytes: Vec<u8>| Stored { kind, shape: shape.to_vec(), bytes };
    let bytes = |count| stored(Dtype::U8, &[count], vec![1; count]);
    let refused = |format: &str, change: &dyn Fn(&mut File)| {
        let checkpoint = Checkpoint::new();
        let complaint = checkpoint.change(file, |all| change(all)).complaint();
        assert!(complaint.contains(file) && complaint.contains(&weight), "{complaint}");
        assert!(complaint.contains("quantised") && complaint.contains(format), "{complaint}");
        assert!(!complaint.contains("should be") && !complaint.contains("missing"), "{complaint}");
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
fn whole_numbers_alone_are_weights() {
    let (file, weight) =
        ("unet/diffusion_pytorch_model.safetensors", "mid_block.attentions.0.proj_in.weight");
    let (stored, upcast) = (Checkpoint::new(), Checkpoint::new());
    for (checkpoint, kind) in [(&stored, Dtype::I8), (&upcast, Dtype::F32)] {
        checkpoint.change(file, |all| {
            let entry = all.get_mut(weight).expect("there");
            let count: usize = entry.shape.iter().product();
            (entry.kind, entry.bytes) =
                (kind, (0..count).flat_map(|i| encode(kind, (i % 5) as i8 - 2)).collect());
        });
    }
    assert!(stored.picture() == upcast.picture());
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
        let checkpoint = Checkpoint::new();
        let path = checkpoint.0.path().join("unet/diffusion_pytorch_model.safetensors");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, bytes).expect("written");
        let complaint = checkpoint.complaint();
        assert!(complaint.contains("unet/diffusion") && complaint.contains(expected), "{complaint}");
    }
}

#[cfg(test)]
fn lora(change: impl FnOnce(&mut File)) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("changed.safetensors");
    let mut all = read(&parity().join("variants/kohya_sgm.safetensors"));
    change(&mut all);
    write(&path, &all);
    (folder, path)
}

#[cfg(test)]
fn with(path: &Path) -> Inputs {
    Inputs { loras: vec![LoraChoice::file(path, 1.0)], ..inputs() }
}

#[test]
fn an_alpha_of_every_type_and_shape_is_a_number() {
    let pipeline = Checkpoint::new().load().expect("loads");
    let alphas = |kind, shape: &[usize]| {
        let (_folder, path) = lora(|all| {
            let names: Vec<String> = all
                .keys()
                .filter_map(|name| Some(format!("{}.alpha", name.strip_suffix(".lora_up.weight")?)))
                .collect();
            for name in names {
                all.insert(name, Stored { kind, shape: shape.to_vec(), bytes: encode(kind, 1) });
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
fn a_lora_of_every_type_is_read() {
    let pipeline = Checkpoint::new().load().expect("loads");
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
fn what_is_no_number_in_a_lora_is_named() {
    let pipeline = Checkpoint::new().load().expect("loads");
    let up = "lora_unet_middle_block_1_proj_in.lora_up.weight";
    let alpha = "lora_unet_middle_block_1_proj_in.alpha";
    let put = |name: &'static str, kind, shape: &[usize], bytes: Vec<u8>| {
        let shape = shape.to_vec();
        move |all: &mut File| drop(all.insert(name.into(), Stored { kind, shape, bytes }))
    };
    let refused = |change: &dyn Fn(&mut File), parts: [&str; 2]| {
        let (_folder, path) = lora(change);
        let message = match pipeline.begin(&with(&path)) {
            Err(PipelineError::BadRequest { field: "loras", message }) => message,
            other => panic!("{other:?}"),
        };
        assert!(message.starts_with("changed.safetensors: "), "{message}");
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}"));
    };
    let once = |f: &dyn Fn(&mut File), parts| refused(f, parts);
    once(&|all| put(alpha, Dtype::C64, &[], vec![0; 8])(all), [alpha, "C64"]);
    once(&|all| put(alpha, Dtype::F4, &[2], vec![0x22])(all), [alpha, "[2]"]);
    once(&|all| put(alpha, Dtype::F32, &[2], vec![0; 8])(all), [alpha, "[2]"]);
    once(&|all| put(alpha, Dtype::F32, &[], f32::NAN.to_le_bytes().into())(all), [alpha, "finite"]);
    once(&|all| put(alpha, Dtype::F64, &[], f64::INFINITY.to_le_bytes().into())(all), [alpha, "finite"]);
    // Finite, and its product is not.
    let large = 1e300_f64.to_le_bytes();
    once(&|all| put(alpha, Dtype::F64, &[], large.into())(all), ["middle_block_1_proj_in", "finite"]);
    let retyped = |all: &mut File| {
        let entry = all.get_mut(up).expect("there");
        entry.bytes = vec![0x22; entry.shape.iter().product::<usize>() / 2];
        entry.kind = Dtype::F4;
    };
    once(&retyped, [up, "F4"]);
}
