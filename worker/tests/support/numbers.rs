//! The numbers of a tensor.

use candle_core::{DType, Tensor};

pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("a tensor of numbers")
}
