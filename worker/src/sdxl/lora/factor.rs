//! The matrices that changes are made of.

use candle_core::{DType, Device, Result, Tensor};

/// A matrix, whole or as a product. All tensors are on the CPU and finite.
#[derive(Debug, Clone)]
pub(super) enum Factor {
    /// [rows, columns..].
    Whole(Tensor),
    /// `left` [rows, rank] times `right` [rank, columns..].
    Product { left: Tensor, right: Tensor },
    /// Tucker's form of a convolution: `core` [p, q, kernel..], `left` [p, rows], `right` [q, columns]. Element
    /// (r, c, k) is the sum of core(p, q, k) left(p, r) right(q, c) over p and q.
    Tucker { core: Tensor, left: Tensor, right: Tensor },
}

/// The number of elements behind the first axis.
fn rest(tensor: &Tensor) -> usize {
    tensor.dims().iter().skip(1).product()
}

/// The tensor as a matrix in f32, on the device.
fn flat(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    let tensor = tensor.to_device(device)?.to_dtype(DType::F32)?;
    match tensor.rank() {
        0 | 1 => tensor.reshape(((), 1)),
        _ => tensor.flatten_from(1)?.contiguous(),
    }
}

impl Factor {
    /// Outputs.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Whole(tensor) | Self::Product { left: tensor, .. } => {
                tensor.dims().first().copied().unwrap_or(1)
            }
            Self::Tucker { left, .. } => rest(left),
        }
    }

    /// Inputs times the elements of the kernel.
    pub(super) fn columns(&self) -> usize {
        match self {
            Self::Whole(tensor) | Self::Product { right: tensor, .. } => rest(tensor),
            Self::Tucker { core, right, .. } => {
                let kernel: usize = core.dims().iter().skip(2).product();
                rest(right).saturating_mul(kernel)
            }
        }
    }

    /// The matrix [rows, columns] in f32, on the device.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn matrix(&self, device: &Device) -> Result<Tensor> {
        match self {
            Self::Whole(tensor) => flat(tensor, device),
            Self::Product { left, right } => flat(left, device)?.matmul(&flat(right, device)?),
            Self::Tucker { core, left, right } => {
                let (left, right) = (flat(left, device)?, flat(right, device)?);
                let (rows, columns) = (left.dim(1)?, right.dim(1)?);
                let (p, q) = (core.dim(0)?, core.dim(1)?);
                let kernel = core.elem_count() / (p * q);
                let rows_first = left.t()?.contiguous()?.matmul(&flat(core, device)?)?;
                // [rows, kernel, q]: the axis of the next sum is the last.
                let turned = rows_first.reshape((rows, q, kernel))?.transpose(1, 2)?.contiguous()?;
                let product = turned.reshape((rows * kernel, q))?.matmul(&right)?;
                let product = product.reshape((rows, kernel, columns))?.transpose(1, 2)?.contiguous()?;
                product.reshape((rows, columns * kernel))
            }
        }
    }

    /// Size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let bytes = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        match self {
            Self::Whole(tensor) => bytes(tensor),
            Self::Product { left, right } => bytes(left) + bytes(right),
            Self::Tucker { core, left, right } => bytes(core) + bytes(left) + bytes(right),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().and_then(|t| t.to_vec1()).unwrap()
    }

    /// [`Factor::Tucker`]'s sum, element by element.
    #[test]
    fn tuckers_form_is_its_sum() {
        let tensor = |shape: &[usize], seed: f32| {
            let count: usize = shape.iter().product();
            let numbers = (0..count).map(|i| ((i as f32 + seed) * 0.7).sin());
            Tensor::from_iter(numbers, &Device::Cpu).unwrap().reshape(shape).unwrap()
        };
        let ([p, q, rows, columns, kernel], [h, w]) = ([2, 3, 4, 5, 6], [2, 3]);
        let (core, left, right) =
            (tensor(&[p, q, h, w], 1.0), tensor(&[p, rows], 2.0), tensor(&[q, columns], 3.0));
        let (c, l, r) = (numbers(&core), numbers(&left), numbers(&right));
        let factor = Factor::Tucker { core, left, right };
        assert_eq!((factor.rows(), factor.columns()), (rows, columns * kernel));
        let matrix = numbers(&factor.matrix(&Device::Cpu).unwrap());
        for row in 0..rows {
            for column in 0..columns {
                for k in 0..kernel {
                    let terms = (0..p * q)
                        .map(|i| c[i * kernel + k] * l[i / q * rows + row] * r[i % q * columns + column]);
                    let expected: f32 = terms.sum();
                    let found = matrix[(row * columns + column) * kernel + k];
                    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
                }
            }
        }
    }
}
