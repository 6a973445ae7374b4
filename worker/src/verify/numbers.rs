//! Random tensors on the device, with another seed at each start. Few numbers are drawn, so this is quick.

use candle_core::{Device, Result, Tensor};

use super::case::Input;
use crate::noise::{Generator, GeneratorKind};

/// How many numbers are drawn, on the host; larger tensors repeat them. It is a prime, so rows and planes of a tensor,
/// which have round sizes, do not repeat with them.
const PERIOD: usize = 1_048_583;

/// From one tensor's first number to the next one's.
const TURN: usize = 104_729;

/// A source of normal numbers.
pub(super) struct Numbers {
    /// [PERIOD], f32.
    drawn: Tensor,
    first: usize,
}

impl Numbers {
    pub(super) fn new(seed: u64, device: &Device) -> Result<Self> {
        let drawn = Generator::new(GeneratorKind::Cuda, seed).normal(PERIOD);
        Ok(Self { drawn: Tensor::from_vec(drawn, PERIOD, device)?, first: 0 })
    }

    /// A tensor that begins its storage, so that it is aligned as the tensors of a model are.
    pub(super) fn draw(&mut self, input: &Input) -> Result<Tensor> {
        self.first = (self.first + TURN) % PERIOD;
        let before = self.drawn.narrow(0, 0, self.first)?;
        let turned = Tensor::cat(&[self.drawn.narrow(0, self.first, PERIOD - self.first)?, before], 0)?;
        let turned = turned.affine(input.deviation, input.mean)?.to_dtype(input.dtype)?;
        let count = input.count();
        let repeated = turned.unsqueeze(0)?.broadcast_as((count.div_ceil(PERIOD), PERIOD))?.contiguous()?;
        let values = repeated.flatten_all()?.narrow(0, 0, count)?;
        let values = match input.last {
            Some(last) => {
                let last = Tensor::full(last, 1, values.device())?.to_dtype(input.dtype)?;
                Tensor::cat(&[values.narrow(0, 0, count - 1)?, last], 0)?
            }
            None => values,
        };
        values.reshape(input.shape.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, DType};

    use super::*;

    #[test]
    fn tensors_differ_and_have_the_mean_and_deviation_that_were_asked_for() {
        let mut numbers = Numbers::new(5, &Device::Cpu).unwrap();
        // Longer than the numbers that are drawn.
        let input = Input::new(DType::F32, [3, 1024, 1024]).around(2.0, 0.5);
        let [a, b] = [(); 2].map(|()| numbers.draw(&input).unwrap());
        assert_eq!(a.dims(), [3, 1024, 1024]);
        let mean = |x: &Tensor| x.mean_all().unwrap().to_scalar::<f32>().unwrap();
        let variance = a.affine(1.0, -2.0).unwrap().sqr().unwrap();
        assert!((mean(&a) - 2.0).abs() < 0.01 && (mean(&variance) - 0.25).abs() < 0.01);
        let plane = |x: &Tensor, i| x.get(i).unwrap();
        for (one, other) in
            [(plane(&a, 0), plane(&b, 0)), (plane(&a, 0), plane(&a, 1)), (plane(&a, 1), plane(&a, 2))]
        {
            assert!(mean(&(one - other).unwrap().abs().unwrap()) > 0.1);
        }
    }

    #[test]
    fn the_last_number_is_planted() {
        let mut numbers = Numbers::new(5, &Device::Cpu).unwrap();
        let input = Input::new(DType::F16, [2, 3]).ending_in(f32::INFINITY);
        let values = numbers.draw(&input).unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        let bad = values.narrow(D::Minus1, 5, 1).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bad, [f32::INFINITY]);
        assert!(values.to_vec1::<f32>().unwrap()[..5].iter().all(|v| v.is_finite()));
    }
}
