//! The changes of one weight or bias.

use candle_core::{DType, Result, Tensor};

use super::factor::Factor;

/// A change that is added to a weight, an element-wise or Kronecker product of matrices, times a factor.
#[derive(Debug, Clone)]
pub struct Delta {
    form: Form,
    /// alpha / rank, or 1.
    factor: f64,
}

#[derive(Debug, Clone)]
pub(super) enum Form {
    /// LoRA (Hu et al. 2021), LoCon, and whole changes.
    Single(Factor),
    /// LoHa (Hyeon-Woo et al. 2021): the element-wise product.
    Hadamard(Factor, Factor),
    /// LoKr (Yeh et al. 2023): the Kronecker product.
    Kronecker(Factor, Factor),
}

impl Delta {
    pub(super) fn new(form: Form, factor: f64) -> Self {
        Self { form, factor }
    }

    /// Whether the change fits a weight of this shape.
    pub fn fits(&self, weight: &[usize]) -> bool {
        let outputs = weight.first().copied().unwrap_or(0);
        let inputs = weight.iter().skip(1).product::<usize>();
        let is = |factor: &Factor| factor.rows() == outputs && factor.columns() == inputs;
        match &self.form {
            Form::Single(factor) => is(factor),
            Form::Hadamard(first, second) => is(first) && is(second),
            Form::Kronecker(first, second) => {
                first.rows().checked_mul(second.rows()) == Some(outputs)
                    && first.columns().checked_mul(second.columns()) == Some(inputs)
            }
        }
    }

    /// The number of inputs, times the kernel for a convolution.
    pub(super) fn inputs(&self) -> usize {
        match &self.form {
            Form::Single(factor) | Form::Hadamard(factor, _) => factor.columns(),
            Form::Kronecker(first, second) => first.columns().saturating_mul(second.columns()),
        }
    }

    /// The change of `weight`, times `scale`: in f32, on the device and in the shape of the weight. The delta must fit
    /// the weight.
    ///
    /// # Errors
    /// If the device fails.
    pub fn of(&self, weight: &Tensor, scale: f64) -> Result<Tensor> {
        let device = weight.device();
        let change = match &self.form {
            Form::Single(factor) => factor.matrix(device)?,
            Form::Hadamard(first, second) => (first.matrix(device)? * second.matrix(device)?)?,
            Form::Kronecker(first, second) => {
                let (first, second) = (first.matrix(device)?, second.matrix(device)?);
                let ((a, b), (c, d)) = (first.dims2()?, second.dims2()?);
                // All products of two elements, and then their order: faster on a CPU than a multiplication that repeats
                // both.
                let products = first.reshape((a * b, 1))?.matmul(&second.reshape((1, c * d))?)?;
                products.reshape((a, b, c, d))?.transpose(1, 2)?.contiguous()?
            }
        };
        (change * (scale * self.factor))?.reshape(weight.shape())
    }

    /// Size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        match &self.form {
            Form::Single(factor) => factor.size(),
            Form::Hadamard(first, second) | Form::Kronecker(first, second) => first.size() + second.size(),
        }
    }
}

/// DoRA (Liu et al. 2024): the lengths that the rows or columns of the changed weight get.
#[derive(Debug, Clone)]
pub(super) struct Lengths {
    /// One length per row or column: on the CPU; finite.
    pub(super) lengths: Tensor,
    /// The axis of the weight that the lengths are counted along: 0 for rows, 1 for columns.
    pub(super) axis: usize,
}

impl Lengths {
    /// Whether there is one length per row or column of a weight of this shape.
    pub(super) fn fit(&self, weight: &[usize]) -> bool {
        weight.get(self.axis) == Some(&self.lengths.elem_count()) && weight.len() > 1
    }

    /// `changed` [outputs, inputs..] with these lengths: in f32.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn of(&self, changed: &Tensor) -> Result<Tensor> {
        let mut shape = vec![1; changed.rank()];
        shape[self.axis] = self.lengths.elem_count();
        let lengths = self.lengths.to_device(changed.device())?.to_dtype(DType::F32)?.reshape(shape)?;
        let others: Vec<usize> = (0..changed.rank()).filter(|axis| *axis != self.axis).collect();
        let own = changed.sqr()?.sum_keepdim(others)?.sqrt()?;
        // Zeros stay zeros.
        changed.broadcast_mul(&(lengths / own.maximum(f64::from(f32::EPSILON))?)?)
    }
}
