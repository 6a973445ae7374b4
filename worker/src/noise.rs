//! Normal noise from a seed, the same on every machine: the values that `torch.randn` draws.
//!
//! Two of torch's generators are reproduced. Values are always drawn in f32 on the host and rounded
//! afterwards, so that the device and the precision of the model do not change the picture.

mod mt19937;
mod philox;

use mt19937::Mt19937;

/// Which of torch's generators draws the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GeneratorKind {
    /// `torch.Generator("cuda")`: Philox4x32-10, as long as one value per thread suffices.
    #[default]
    Cuda,
    /// `torch.Generator("cpu")`: MT19937.
    Cpu,
}

/// A stream of normal numbers. The draws of one stream differ, as torch's do.
#[derive(Debug, Clone)]
pub struct Generator(State);

#[derive(Debug, Clone)]
enum State {
    Cuda { seed: u64, draws: u32 },
    Cpu(Box<Mt19937>),
}

impl Generator {
    /// `torch.Generator(kind).manual_seed(seed)`.
    pub fn new(kind: GeneratorKind, seed: u64) -> Self {
        Self(match kind {
            GeneratorKind::Cuda => State::Cuda { seed, draws: 0 },
            // torch seeds MT19937 with the lower half.
            GeneratorKind::Cpu => State::Cpu(Box::new(Mt19937::new(seed as u32))),
        })
    }

    /// `torch.randn(count)` in float32. A batch is one draw: its pictures have consecutive parts.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        match &mut self.0 {
            State::Cuda { seed, draws } => {
                let values = (0..count as u64).map(|i| philox::normal(*seed, *draws, i)).collect();
                *draws += 1;
                values
            }
            State::Cpu(twister) => twister.normal(count),
        }
    }
}
