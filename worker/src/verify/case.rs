//! One comparison: an operation, its inputs, and both of its forms.

use candle_core::{DType, Device, Result, Tensor};

use crate::sdxl::ops::Op;

/// What an operation gives.
#[derive(Debug)]
pub enum Output {
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// Bytes of a picture, if it has no number that is not finite.
    Bytes(Option<Vec<u8>>),
    /// An answer.
    Flag(bool),
}

/// An operation on the inputs of a case.
pub type Form = Box<dyn Fn(&[Tensor]) -> Result<Output>>;

/// How exact a right form is. With the dtype it sets the tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// Bytes and flags: every form must give the same.
    Exact,
    /// Computed in f32, in any order.
    Single,
    /// Sums of products, whose factors a GPU may round: attention's probabilities to the dtype of the values, f32 to
    /// the ten bits of TF32. The sums are f32: a sum in f16 is beyond the tolerance at SDXL's depths.
    Products,
}

impl Arithmetic {
    /// The largest error of a right form with a result of this dtype, as `compare` measures it: the result's rounding,
    /// and what may be lost before.
    pub fn tolerance(self, result: DType, device: &Device) -> f64 {
        // Half a unit in the last place for the result, and as much again for up to three numbers on the way.
        let rounding = 2.0 * unit(result);
        // The GPU's approximations of exp, erf and rsqrt, and another order of sums.
        const SINGLE: f64 = 2e-5;
        match self {
            Self::Exact => 0.0,
            Self::Single => rounding + SINGLE,
            Self::Products if result == DType::F32 && device.is_cpu() => SINGLE,
            // Each factor is off by at most half a unit, at random; so the largest of millions of sums by one or two.
            // The rest is room for an algorithm that adds factors before it multiplies, as Winograd's.
            Self::Products => {
                rounding + 8.0 * if result == DType::BF16 { unit(result) } else { unit(DType::F16) }
            }
        }
    }
}

/// The distance from 1 to the next number; that of f32 is in the tolerance of its arithmetic.
fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => 0.0,
    }
}

/// A tensor of normal numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) mean: f64,
    pub(super) deviation: f64,
    /// What the last number is instead.
    pub(super) last: Option<f32>,
}

impl Input {
    /// Standard normal numbers.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype, shape: shape.into(), mean: 0.0, deviation: 1.0, last: None }
    }

    /// The same with another mean and standard deviation.
    #[must_use]
    pub fn around(self, mean: f64, deviation: f64) -> Self {
        Self { mean, deviation, ..self }
    }

    /// The same with another last number.
    #[must_use]
    pub fn ending_in(self, last: f32) -> Self {
        Self { last: Some(last), ..self }
    }

    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// One comparison.
pub struct Case {
    /// The operation.
    pub op: Op,
    /// Its shape, for tables and logs.
    pub shape: String,
    /// The dtype of the model whose operation it is.
    pub dtype: DType,
    /// The dtype of the result.
    pub result: DType,
    /// How exact a right form is.
    pub arithmetic: Arithmetic,
    /// What both forms get.
    pub inputs: Vec<Input>,
    /// The operation as the models call it.
    pub own: Form,
    /// The same of candle's operations. With inputs in f32 it gives the reference.
    pub portable: Form,
}
