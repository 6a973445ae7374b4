//! Reads tensors as weights and numbers.

use candle_core::{DType, Device, Tensor};

use super::numbers::{self, Fit, Numbers};
use super::quantised::{self, Beside};
use super::shard::Shards;
use crate::sdxl::error::{LoadError, Shown};

/// Why a tensor could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The file or the device failed.
    Load(LoadError),
    /// The tensor cannot be used: the reason, as text after its name.
    Unusable(String),
}

impl From<LoadError> for ReadError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<candle_core::Error> for ReadError {
    fn from(error: candle_core::Error) -> Self {
        Self::Load(error.into())
    }
}

/// The target of a load.
pub(super) struct Target<'a> {
    /// The dtype of the model.
    pub(super) dtype: DType,
    pub(super) device: &'a Device,
}

impl Shards {
    /// The number of a one-element tensor of any dtype and any number of axes.
    ///
    /// # Errors
    /// If the tensor has another number of elements, the number is not finite, or the file cannot be read.
    pub fn scalar(&self, name: &str) -> Result<f64, ReadError> {
        let mut bytes = Vec::new();
        let kind = self.read(name, &mut bytes)?;
        let shape = self.shape(name).unwrap_or_default();
        if shape.iter().any(|axis| *axis != 1) {
            return Err(ReadError::Unusable(format!("has shape {shape:?} and is not one number")));
        }
        match numbers::scalar(kind, &bytes) {
            Some(number) if number.is_finite() => Ok(number),
            Some(number) => Err(ReadError::Unusable(format!("is {number} and not a finite number"))),
            None => Err(unsupported(kind)),
        }
    }

    /// A tensor on the CPU, in float16, bfloat16 or float32.
    ///
    /// # Errors
    /// If the dtype is not supported, a number is not finite, or the file cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor, ReadError> {
        let target = Target { dtype: DType::F32, device: &Device::Cpu };
        self.plain(name, None, &target, &mut Vec::new())
    }

    /// Why a tensor cannot be a weight of any shape: its dtype, or the tensors beside it.
    pub(super) fn refusal(&self, name: &str, beside: &Beside) -> Option<ReadError> {
        match beside {
            Beside::Quantised(format, sign) => return Some(quantised(format, sign)),
            Beside::Described(scale, description) => {
                let mut text = Vec::new();
                if let Err(error) = self.read(description, &mut text) {
                    return Some(error.into());
                }
                match (quantised::described(&text), scale) {
                    (Some(format), _) => return Some(quantised(&format, description)),
                    (None, None) => return Some(quantised("8-bit floats without their scale", description)),
                    (None, Some(_)) => {}
                }
            }
            Beside::Nothing | Beside::Scale(_) => {}
        }
        let kind = self.kind(name)?;
        Numbers::of(kind, &[]).is_none().then(|| unsupported(kind))
    }

    /// A weight in float16, bfloat16 or float32, times the scale beside it. See [`Shards::refusal`].
    ///
    /// # Errors
    /// As [`Shards::tensor`], or if the scale cannot be used.
    pub(super) fn weight(
        &self,
        name: &str,
        beside: &Beside,
        target: &Target<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Tensor, ReadError> {
        let scale = match beside {
            Beside::Scale(scale) | Beside::Described(Some(scale), _) => Some(scale.as_str()),
            Beside::Nothing | Beside::Described(None, _) | Beside::Quantised(..) => None,
        };
        self.plain(name, scale, target, buffer)
    }

    fn plain(
        &self,
        name: &str,
        scale: Option<&str>,
        target: &Target<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Tensor, ReadError> {
        let shape = self.shape(name).unwrap_or_default();
        let scales = scale.map(|scale| self.scales(scale, shape)).transpose()?;
        let kind = self.read(name, buffer)?;
        let mut numbers = Numbers::of(kind, buffer).ok_or_else(|| unsupported(kind))?;
        if let Some(scales) = scales {
            numbers = numbers.scaled(&scales);
        }
        match numbers.fit(target.dtype) {
            Fit::Fits => {}
            // Not an error: the effect may be small, and a VAE that overflows is loaded again in float32.
            Fit::Overflows => tracing::warn!(
                "{}: {} has numbers beyond {}, which become infinite",
                self.path().display(),
                Shown(name),
                target.dtype.as_str()
            ),
            Fit::NotFinite => {
                let times =
                    scale.map(|scale| format!(" times its scale {}", Shown(scale))).unwrap_or_default();
                return Err(ReadError::Unusable(match numbers::is_finite(kind, buffer) {
                    true => format!("has numbers{times} beyond what float32 can hold"),
                    false => "has numbers that are not finite (NaN or infinity)".to_owned(),
                }));
            }
        }
        Ok(numbers.tensor(shape, target.device)?)
    }

    /// The scales of a tensor of that shape: one for all rows or one per row.
    fn scales(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ReadError> {
        let mut bytes = Vec::new();
        let kind = self.read(name, &mut bytes)?;
        let unusable =
            |why: String| ReadError::Unusable(format!("has the scale {}, which {why}", Shown(name)));
        let scales = numbers::floats(kind, &bytes)
            .ok_or_else(|| unusable(format!("is of type {kind:?}, which is not supported")))?;
        if scales.iter().any(|scale| !scale.is_finite()) {
            return Err(unusable(match numbers::is_finite(kind, &bytes) {
                true => "has numbers beyond what float32 can hold".to_owned(),
                false => "has numbers that are not finite (NaN or infinity)".to_owned(),
            }));
        }
        let of_scales = self.shape(name).unwrap_or_default();
        let per_row = of_scales.first() == shape.first() && of_scales.iter().skip(1).all(|axis| *axis == 1);
        match scales.len() {
            1 => Ok(scales),
            2.. if per_row => Ok(scales),
            _ => Err(unusable(format!(
                "has shape {of_scales:?}: only one scale, or one per row, is supported"
            ))),
        }
    }
}

fn unsupported(kind: safetensors::Dtype) -> ReadError {
    ReadError::Unusable(format!("is of type {kind:?}, which is not supported"))
}

fn quantised(format: &str, sign: &str) -> ReadError {
    ReadError::Unusable(format!(
        "is quantised, as {} beside it shows ({}): use a file in float16, bfloat16 or float32",
        Shown(sign),
        Shown(format)
    ))
}
