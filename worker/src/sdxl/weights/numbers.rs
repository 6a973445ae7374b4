//! Converts stored bytes of any dtype to numbers.

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::Dtype;

/// The smallest number that rounds to infinity in float16.
const F16_LIMIT: f32 = 65520.0;

/// The numbers of a tensor.
pub(super) enum Numbers<'a> {
    /// Bytes of float16, bfloat16 or float32.
    Native(DType, &'a [u8]),
    /// Numbers of another dtype: candle does not support all of them on all devices.
    Floats(Vec<f32>),
}

/// Whether numbers fit a dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Fits,
    /// Some finite numbers are beyond the range of the dtype.
    Overflows,
    /// Some numbers are infinite or NaN.
    NotFinite,
}

impl<'a> Numbers<'a> {
    /// Reads bytes as weights. `None` for complex numbers, and for the dtypes of the microscaling formats (MX), whose
    /// numbers need scales from another tensor.
    pub(super) fn of(kind: Dtype, bytes: &'a [u8]) -> Option<Self> {
        match kind {
            Dtype::F16 => Some(Self::Native(DType::F16, bytes)),
            Dtype::BF16 => Some(Self::Native(DType::BF16, bytes)),
            Dtype::F32 => Some(Self::Native(DType::F32, bytes)),
            Dtype::F8_E8M0 => None,
            _ => floats(kind, bytes).map(Self::Floats),
        }
    }

    /// Multiplies each of `scales.len()` equal parts by its scale.
    pub(super) fn scaled(self, scales: &[f32]) -> Self {
        let mut numbers = match self {
            Self::Floats(numbers) => numbers,
            Self::Native(DType::F16, bytes) => each(bytes, f16),
            Self::Native(DType::BF16, bytes) => each(bytes, bf16),
            Self::Native(_, bytes) => each(bytes, f32::from_le_bytes),
        };
        let part = (numbers.len() / scales.len().max(1)).max(1);
        for (numbers, scale) in numbers.chunks_mut(part).zip(scales) {
            numbers.iter_mut().for_each(|number| *number *= scale);
        }
        Self::Floats(numbers)
    }

    /// Whether the numbers fit `wanted`.
    pub(super) fn fit(&self, wanted: DType) -> Fit {
        // Without the sign bit, floats have the order of their bits, and infinity and NaN are the largest.
        let largest16 = |bytes: &[u8]| {
            bytes.as_chunks().0.iter().fold(0, |most, bits| most.max(i16::from_le_bytes(*bits) & i16::MAX))
        };
        let largest = match self {
            Self::Native(DType::F16, bytes) => f16(largest16(bytes).to_le_bytes()),
            Self::Native(DType::BF16, bytes) => bf16(largest16(bytes).to_le_bytes()),
            Self::Native(_, bytes) => {
                largest32(bytes.as_chunks().0.iter().map(|bits| i32::from_le_bytes(*bits)))
            }
            Self::Floats(numbers) => largest32(numbers.iter().map(|number| number.to_bits().cast_signed())),
        };
        match wanted {
            _ if !largest.is_finite() => Fit::NotFinite,
            DType::F16 if largest >= F16_LIMIT => Fit::Overflows,
            _ => Fit::Fits,
        }
    }

    /// The tensor, in float16, bfloat16 or float32.
    pub(super) fn tensor(self, shape: &[usize], device: &Device) -> candle_core::Result<Tensor> {
        match self {
            Self::Native(dtype, bytes) => Tensor::from_raw_buffer(bytes, dtype, shape, device),
            Self::Floats(numbers) => Tensor::from_vec(numbers, shape, device),
        }
    }
}

fn largest32(bits: impl Iterator<Item = i32>) -> f32 {
    f32::from_bits(bits.fold(0, |most, bits| most.max(bits & i32::MAX)).cast_unsigned())
}

/// Whether this is a floating-point dtype.
pub(super) fn is_float(kind: Dtype) -> bool {
    use Dtype::{BF16, F8_E4M3, F8_E4M3FNUZ, F8_E5M2, F8_E5M2FNUZ, F16, F32, F64};
    matches!(kind, F64 | F32 | F16 | BF16 | F8_E4M3 | F8_E5M2 | F8_E4M3FNUZ | F8_E5M2FNUZ)
}

/// Whether all numbers are finite in their own dtype: those of float64 may be infinite in float32.
pub(super) fn is_finite(kind: Dtype, bytes: &[u8]) -> bool {
    match kind {
        Dtype::F64 => each(bytes, f64::from_le_bytes).iter().all(|number| number.is_finite()),
        _ => floats(kind, bytes).is_some_and(|numbers| numbers.iter().all(|number| number.is_finite())),
    }
}

/// The number of a one-element tensor. `None` for another number of elements or an unsupported dtype.
pub(super) fn scalar(kind: Dtype, bytes: &[u8]) -> Option<f64> {
    let one = match kind {
        Dtype::F64 => each(bytes, f64::from_le_bytes),
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        Dtype::U64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
        Dtype::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
        Dtype::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
        _ => floats(kind, bytes)?.into_iter().map(f64::from).collect(),
    };
    match one[..] {
        [number] => Some(number),
        _ => None,
    }
}

/// The numbers of any dtype with whole bytes, rounded to f32. `None` for other dtypes.
pub(super) fn floats(kind: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let by_table = |value: &dyn Fn(u8) -> f32| {
        let table: [f32; 256] = std::array::from_fn(|byte| value(byte as u8));
        bytes.iter().map(|byte| table[usize::from(*byte)]).collect()
    };
    Some(match kind {
        Dtype::BOOL => by_table(&|byte| f32::from(byte != 0)),
        Dtype::U8 => by_table(&f32::from),
        Dtype::I8 => by_table(&|byte| byte.cast_signed().into()),
        Dtype::F8_E4M3 => by_table(&|byte| float8(byte, 3, 7, Special::Nan)),
        Dtype::F8_E5M2 => by_table(&|byte| float8(byte, 2, 15, Special::InfinityAndNan)),
        Dtype::F8_E4M3FNUZ => by_table(&|byte| float8(byte, 3, 8, Special::NegativeZeroIsNan)),
        Dtype::F8_E5M2FNUZ => by_table(&|byte| float8(byte, 2, 16, Special::NegativeZeroIsNan)),
        Dtype::F8_E8M0 => by_table(&|byte| match byte {
            u8::MAX => f32::NAN,
            exponent => 2_f32.powi(i32::from(exponent) - 127),
        }),
        Dtype::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
        Dtype::U16 => each(bytes, |b| u16::from_le_bytes(b).into()),
        Dtype::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
        Dtype::U32 => each(bytes, |b| u32::from_le_bytes(b) as f32),
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
        Dtype::U64 => each(bytes, |b| u64::from_le_bytes(b) as f32),
        Dtype::F16 => each(bytes, f16),
        Dtype::BF16 => each(bytes, bf16),
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        _ => return None,
    })
}

fn each<const SIZE: usize, T>(bytes: &[u8], value: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bits| value(*bits)).collect()
}

fn bf16(bits: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bits)) << 16)
}

fn f16(bits: [u8; 2]) -> f32 {
    let bits = u16::from_le_bytes(bits);
    float(bits >> 15 == 1, bits & 0x7FFF, 10, 15, Special::InfinityAndNan)
}

/// The special values of a format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    /// As in IEEE 754: the highest exponent is infinity or NaN.
    InfinityAndNan,
    /// All ones are NaN; there is no infinity ("FN").
    Nan,
    /// Negative zero is NaN; there is no infinity ("FNUZ").
    NegativeZeroIsNan,
}

/// A float of 8 bits with `fraction` fraction bits and an exponent of that bias.
fn float8(bits: u8, fraction: u32, bias: i32, special: Special) -> f32 {
    float(bits >> 7 == 1, (bits & 0x7F).into(), fraction, bias, special)
}

fn float(negative: bool, bits: u16, fraction: u32, bias: i32, special: Special) -> f32 {
    let (exponent, digits) = (bits >> fraction, bits & ((1 << fraction) - 1));
    let highest = i32::from(exponent) == 2 * bias + 1;
    let magnitude = match special {
        Special::InfinityAndNan if highest && digits == 0 => f32::INFINITY,
        Special::InfinityAndNan if highest => f32::NAN,
        Special::Nan if bits == 0x7F => f32::NAN,
        Special::NegativeZeroIsNan if negative && bits == 0 => f32::NAN,
        _ if exponent == 0 => f32::from(digits) * 2_f32.powi(1 - bias - fraction as i32),
        _ => f32::from(digits | 1 << fraction) * 2_f32.powi(i32::from(exponent) - bias - fraction as i32),
    };
    if negative { -magnitude } else { magnitude }
}
