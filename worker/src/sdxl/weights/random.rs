//! Random weights, for measurements of a model without its files.

use std::cell::OnceCell;

use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};

use crate::noise::{Generator, GeneratorKind};

/// Normal numbers that all tensors are cut from. A prime, so that no two rows of a matrix begin at the same number.
const DRAWN: usize = 1_048_573;

/// The standard deviation of biases.
const BIAS: f64 = 0.02;

/// Tensors of any name and shape. A tensor depends on the seed, its name and its shape alone, so a model has the same
/// weights on every device. They are scaled so that activations stay near one in a network of any depth.
#[derive(Debug)]
pub(super) struct RandomWeights {
    seed: u64,
    /// Drawn once, in f32, and kept on the device of the load.
    drawn: OnceCell<Tensor>,
}

impl RandomWeights {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, drawn: OnceCell::new() }
    }

    /// The tensor `name`: ones for the weight of a norm, small numbers for a bias, and otherwise a normal distribution
    /// with the variance 1 / inputs.
    pub(super) fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let deviation = match shape {
            [_] if name.ends_with(".weight") => return Tensor::ones(shape, dtype, device),
            [] | [_] => BIAS,
            [_, inputs @ ..] => (inputs.iter().product::<usize>() as f64).sqrt().recip(),
        };
        let (count, first) = (shape.iter().product::<usize>(), self.first(name));
        let turns = (first + count).div_ceil(DRAWN);
        let drawn = self.drawn(device)?.unsqueeze(0)?.broadcast_as((turns, DRAWN))?.contiguous()?;
        let numbers = drawn.flatten_all()?.narrow(0, first, count)?;
        (numbers * deviation)?.to_dtype(dtype)?.reshape(shape)
    }

    /// Where the numbers of a tensor begin.
    fn first(&self, name: &str) -> usize {
        let digest = Sha256::digest(format!("{} {name}", self.seed));
        digest.iter().fold(0, |rest, byte| (rest * 256 + usize::from(*byte)) % DRAWN)
    }

    fn drawn(&self, device: &Device) -> candle_core::Result<Tensor> {
        if let Some(drawn) = self.drawn.get() {
            return drawn.to_device(device);
        }
        let numbers = Generator::new(GeneratorKind::Cuda, self.seed).normal(DRAWN);
        let numbers = Tensor::from_vec(numbers, DRAWN, device)?;
        Ok(self.drawn.get_or_init(|| numbers).clone())
    }
}
