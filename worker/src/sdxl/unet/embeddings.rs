//! The embeddings of timesteps and sizes: diffusers' `Timesteps` and `TimestepEmbedding` (`models/embeddings.py`).

use std::cell::{OnceCell, RefCell};

use candle_core::{DType, Device, Tensor};

use crate::sdxl::error::LoadError;
use crate::sdxl::layers::Linear;
use crate::sdxl::ops::Activation;
use crate::sdxl::weights::Vars;

/// Sinusoidal embedding (Vaswani et al. 2017): cosine and sine of t * 10000^(-i / (N/2 - shift)).
#[derive(Debug)]
pub(crate) struct Timesteps {
    frequencies: Vec<f32>,
    /// The same, on the device of a UNet that is not on the CPU.
    uploaded: OnceCell<Tensor>,
    width: usize,
    cosines_first: bool,
    /// The sizes are the same in all steps of a job.
    newest: RefCell<Option<Newest>>,
}

/// The newest embedding.
#[derive(Debug)]
struct Newest {
    values: Vec<f32>,
    embedded: Tensor,
}

impl Timesteps {
    /// An embedding of `width` numbers.
    pub(crate) fn new(width: usize, flip_sin_to_cos: bool, freq_shift: f64) -> Self {
        let half = width / 2;
        let step = -(10_000f64.ln()) as f32;
        // In f32 as in diffusers: at t = 1000 the rounding of the angle changes the fifth digit.
        let frequencies =
            (0..half).map(|i| (step * i as f32 / (half as f64 - freq_shift) as f32).exp()).collect();
        Self {
            frequencies,
            uploaded: OnceCell::new(),
            width,
            cosines_first: flip_sin_to_cos,
            newest: RefCell::default(),
        }
    }

    /// Embeds N values: [N, width] in `dtype`.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(
        &self,
        values: &[f32],
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        if let Some(Newest { values: newest, embedded }) = &*self.newest.borrow()
            && newest == values
            && embedded.dtype() == dtype
            && embedded.device().same_device(device)
        {
            return Ok(embedded.clone());
        }
        let equal = values.windows(2).all(|pair| pair[0] == pair[1]);
        let embedded = match (device, values.first()) {
            (Device::Cuda(_) | Device::Metal(_), Some(first)) if equal => {
                self.on_device(*first, device)?.repeat((values.len(), 1))?
            }
            _ => self.on_host(values, device)?,
        };
        let embedded = embedded.to_dtype(dtype)?;
        *self.newest.borrow_mut() = Some(Newest { values: values.to_vec(), embedded: embedded.clone() });
        Ok(embedded)
    }

    /// One value, [1, width], computed on the device: an upload could wait for the work before it.
    fn on_device(&self, value: f32, device: &Device) -> candle_core::Result<Tensor> {
        let frequencies = match self.uploaded.get() {
            Some(frequencies) => frequencies,
            None => {
                let frequencies = Tensor::new(self.frequencies.as_slice(), device)?;
                self.uploaded.get_or_init(|| frequencies)
            }
        };
        let angles = frequencies.affine(f64::from(value), 0.0)?;
        let (sines, cosines) = (angles.sin()?, angles.cos()?);
        let mut parts = if self.cosines_first { vec![cosines, sines] } else { vec![sines, cosines] };
        if self.width % 2 == 1 {
            parts.push(Tensor::zeros(1, DType::F32, device)?);
        }
        Tensor::cat(&parts, 0)?.unsqueeze(0)
    }

    fn on_host(&self, values: &[f32], device: &Device) -> candle_core::Result<Tensor> {
        let mut rows = Vec::with_capacity(values.len() * self.width);
        for value in values {
            let sines = self.frequencies.iter().map(|f| (value * f).sin());
            let cosines = self.frequencies.iter().map(|f| (value * f).cos());
            if self.cosines_first {
                rows.extend(cosines.chain(sines));
            } else {
                rows.extend(sines.chain(cosines));
            }
            if self.width % 2 == 1 {
                rows.push(0.0);
            }
        }
        Tensor::from_vec(rows, (values.len(), self.width), device)
    }
}

/// Two linear layers with an activation between them.
#[derive(Debug)]
pub(crate) struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
    activation: Activation,
}

impl TimestepEmbedding {
    /// Loads the layers.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(
        vars: &Vars,
        inputs: usize,
        width: usize,
        activation: Activation,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            linear_1: Linear::new(&vars.at("linear_1"), inputs, width)?,
            linear_2: Linear::new(&vars.at("linear_2"), width, width)?,
            activation,
        })
    }

    /// `x` [B, inputs] gives [B, width].
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.linear_2.forward(&self.activation.forward(&self.linear_1.forward(x)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_the_host_embed_alike() -> candle_core::Result<()> {
        for (width, cosines_first, shift) in [(320, true, 0.0), (7, false, 1.0)] {
            let timesteps = Timesteps::new(width, cosines_first, shift);
            for value in [0.0, 1.0, 500.5, 999.0] {
                let on_device = timesteps.on_device(value, &Device::Cpu)?;
                let on_host = timesteps.on_host(&[value], &Device::Cpu)?;
                let difference = (on_device - on_host)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(difference < 1e-6, "width {width}, value {value}: {difference}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_newest_values_are_embedded_once() -> candle_core::Result<()> {
        let timesteps = Timesteps::new(8, true, 0.0);
        let embed = |values: &[f32]| timesteps.forward(values, DType::F32, &Device::Cpu);
        let first = embed(&[1.0, 2.0])?;
        assert_eq!(embed(&[1.0, 2.0])?.id(), first.id());
        assert_ne!(embed(&[1.0, 3.0])?.to_vec2::<f32>()?, first.to_vec2::<f32>()?);
        Ok(())
    }
}
