//! Reads tensors as weights and numbers.

use candle_core::{DType, Device, Tensor};

use super::numbers::{self, Fit, Numbers};
use super::quantised::{self, Beside};
use super::shard::Shards;
use crate::sdxl::error::LoadError;

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
        if let Beside::Quantised(format, sign) = beside {
            return Some(quantised(format, sign));
        }
        let kind = self.kind(name)?;
        Numbers::of(kind, &[]).is_none().then(|| unsupported(kind))
    }

    /// A weight in float16, bfloat16 or float32, times the scale beside it.
    ///
    /// # Errors
    /// As [`Shards::tensor`], or if its format is not supported.
    pub(super) fn weight(
        &self,
        name: &str,
        beside: &Beside,
        target: &Target<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Tensor, ReadError> {
        match beside {
            Beside::Nothing => self.plain(name, None, target, buffer),
            Beside::Scale(scale) => self.plain(name, Some(scale), target, buffer),
            Beside::Described(scale, description) => {
                self.read(description, buffer)?;
                match quantised::described(buffer) {
                    None => self.plain(name, Some(scale), target, buffer),
                    Some(format) => Err(quantised(&format, description)),
                }
            }
            Beside::Quantised(format, sign) => Err(quantised(format, sign)),
        }
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
                "{}: {name} has numbers beyond {}, which become infinite",
                self.path().display(),
                target.dtype.as_str()
            ),
            Fit::NotFinite => {
                return Err(ReadError::Unusable("has numbers that are not finite (NaN or infinity)".into()));
            }
        }
        Ok(numbers.tensor(shape, target.device)?)
    }

    /// The scales of a tensor of that shape: one for all rows or one per row.
    fn scales(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ReadError> {
        let mut bytes = Vec::new();
        let kind = self.read(name, &mut bytes)?;
        let scales = numbers::floats(kind, &bytes).ok_or_else(|| unsupported(kind))?;
        match scales.len() {
            1 => Ok(scales),
            rows if shape.first() == Some(&rows) => Ok(scales),
            other => Err(ReadError::Unusable(format!(
                "has {other} scales ({name}): only one scale, or one per row, is supported"
            ))),
        }
    }
}

fn unsupported(kind: safetensors::Dtype) -> ReadError {
    ReadError::Unusable(format!("is of type {kind:?}, which is not supported"))
}

fn quantised(format: &str, sign: &str) -> ReadError {
    ReadError::Unusable(format!(
        "is quantised, as {sign} beside it shows ({format}): use a file in float16, bfloat16 or float32"
    ))
}
