//! Safetensors files with tensors of any dtype.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// A tensor in a file.
#[derive(Clone)]
pub struct StoredTensor {
    pub kind: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub type Tensors = BTreeMap<String, StoredTensor>;

pub fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("tensors");
    let stored = |view: TensorView<'_>| StoredTensor {
        kind: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    file.iter().map(|(name, view)| (name.to_owned(), stored(view))).collect()
}

pub fn write(path: &Path, file: &Tensors) {
    let views = file.iter().map(|(name, s)| {
        (name.as_str(), TensorView::new(s.kind, s.shape.clone(), &s.bytes).expect("a tensor"))
    });
    fs::write(path, safetensors::serialize(views, None).expect("a file")).expect("written");
}

/// The bytes of a number in a dtype that can represent it. Every dtype can represent 0 and 1, except F8_E8M0, which has
/// no 0.
pub fn encode(kind: Dtype, number: i8) -> Vec<u8> {
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
        // The bias is one higher than without "FNUZ".
        Dtype::F8_E4M3FNUZ if number == 0 => vec![0],
        Dtype::F8_E4M3FNUZ => vec![converted(DType::F8E4M3)[0] + 8],
        Dtype::F8_E5M2FNUZ if number == 0 => vec![0],
        Dtype::F8_E5M2FNUZ => vec![converted(DType::F16)[1] + 4],
        // Only an exponent.
        Dtype::F8_E8M0 => vec![127 + (unsigned.ilog2() as u8)],
        other => panic!("{other:?}"),
    }
}

/// The dtypes that weights may have.
pub const WEIGHTS: [Dtype; 16] = [
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
