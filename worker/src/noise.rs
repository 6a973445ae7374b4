//! Normal noise from a seed, equal on every machine: the values of `torch.randn`.
//!
//! Implements two of torch's generators. Values are always drawn in f32 on the host and rounded afterwards, so the
//! device and the dtype of the model do not change the noise.

mod mt19937;
mod philox;

use mt19937::Mt19937;

/// Which of torch's generators draws the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GeneratorKind {
    /// `torch.Generator("cuda")`: Philox4x32-10, for draws in which each CUDA thread computes one value.
    #[default]
    Cuda,
    /// `torch.Generator("cpu")`: MT19937.
    Cpu,
}

/// A stream of normal numbers. Each draw continues the stream, as in torch.
#[derive(Debug, Clone)]
pub struct Generator(GeneratorState);

#[derive(Debug, Clone)]
enum GeneratorState {
    Cuda { seed: u64, draws: u32 },
    Cpu(Box<Mt19937>),
}

impl Generator {
    /// `torch.Generator(kind).manual_seed(seed)`.
    pub fn new(kind: GeneratorKind, seed: u64) -> Self {
        Self(match kind {
            GeneratorKind::Cuda => GeneratorState::Cuda { seed, draws: 0 },
            // torch seeds MT19937 with the lower 32 bits.
            GeneratorKind::Cpu => GeneratorState::Cpu(Box::new(Mt19937::new(seed as u32))),
        })
    }

    /// `torch.randn(count)` in float32. A batch is one draw, and its pictures are consecutive parts of it.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        match &mut self.0 {
            GeneratorState::Cuda { seed, draws } => {
                let values = (0..count as u64).map(|i| philox::normal(*seed, *draws, i)).collect();
                *draws += 1;
                values
            }
            GeneratorState::Cpu(twister) => twister.normal(count),
        }
    }
}
