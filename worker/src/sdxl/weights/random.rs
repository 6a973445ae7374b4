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

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(weights: &RandomWeights, name: &str, shape: &[usize]) -> Vec<f32> {
        let tensor = weights.tensor(name, shape, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(tensor.dims(), shape);
        tensor.flatten_all().and_then(|t| t.to_vec1()).unwrap()
    }

    #[test]
    fn a_tensor_depends_on_its_name_and_the_seed() {
        let weights = RandomWeights::new(1);
        let tensor = |weights: &RandomWeights, name| numbers(weights, name, &[8, 16]);
        assert_eq!(tensor(&weights, "a.weight"), tensor(&RandomWeights::new(1), "a.weight"));
        assert_ne!(tensor(&weights, "a.weight"), tensor(&weights, "b.weight"));
        assert_ne!(tensor(&weights, "a.weight"), tensor(&RandomWeights::new(2), "a.weight"));
    }

    #[test]
    fn norms_keep_their_input_and_matrices_its_variance() {
        let weights = RandomWeights::new(1);
        assert_eq!(numbers(&weights, "norm1.weight", &[3]), [1.0; 3]);
        assert!(numbers(&weights, "norm1.bias", &[64]).iter().all(|bias| bias.abs() < 0.2 && *bias != 0.0));
        // Larger than what is drawn: the numbers begin again.
        for shape in [&[1500, 1000][..], &[64, 32, 3, 3]] {
            let numbers = numbers(&weights, "conv.weight", shape);
            let inputs: usize = shape[1..].iter().product();
            let variance = numbers.iter().map(|n| f64::from(n * n)).sum::<f64>() / numbers.len() as f64;
            assert!((variance * inputs as f64 - 1.0).abs() < 0.05, "{shape:?}: {variance}");
            let rows: std::collections::BTreeSet<_> = numbers
                .chunks(inputs)
                .map(|row| row[..4].iter().map(|n| n.to_bits()).collect::<Vec<_>>())
                .collect();
            assert_eq!(rows.len(), shape[0], "no two rows are equal");
        }
    }

    #[test]
    fn half_precision_is_the_same_tensor_rounded() {
        let weights = RandomWeights::new(3);
        let exact = weights.tensor("a.weight", &[4, 4], DType::F32, &Device::Cpu).unwrap();
        let half = weights.tensor("a.weight", &[4, 4], DType::F16, &Device::Cpu).unwrap();
        let rounded = exact.to_dtype(DType::F16).unwrap();
        let numbers =
            |t: Tensor| t.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1::<f32>()).unwrap();
        assert_eq!(numbers(half), numbers(rounded));
    }
}
