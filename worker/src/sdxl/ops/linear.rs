//! Linear layers, x W^T and what is added to it.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::addends::{Addends, Channels, add};
use super::gemm::{Keep, Matrix, multiply};
use super::portable;
use super::slices::{PARALLEL_FLOOR, on_slices};

/// `x` \[.., I\], `weight` \[O, I\], addends of O channels give \[.., O\].
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn linear<'a>(x: &Tensor, weight: &Tensor, addends: impl Into<Addends<'a>>) -> Result<Tensor> {
    let addends = addends.into();
    if !x.device().is_cpu() {
        return add(portable::linear(x, weight, None)?, addends, Channels::Last);
    }
    let (outputs, inputs) = weight.dims2()?;
    if x.dim(D::Minus1)? != inputs {
        candle_core::bail!("linear: {:?} does not fit a weight of {:?}", x.dims(), weight.dims());
    }
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    let y = match addends.bias {
        Some(bias) => on_slices([x, weight, bias], &shape, |[x, w, b]| product(x, w, Some(b), inputs)),
        None => on_slices([x, weight], &shape, |[x, w]| product(x, w, None, inputs)),
    };
    add(y?, Addends { bias: None, ..addends }, Channels::Last)
}

/// Splits the rows over the threads.
fn product(x: &[f32], weight: &[f32], bias: Option<&[f32]>, inputs: usize) -> Vec<f32> {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    let mut y = vec![0f32; rows * outputs];
    let block = |y: &mut [f32], x: &[f32]| {
        let keep = match bias {
            Some(bias) => {
                y.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(bias));
                Keep::Sum
            }
            None => Keep::Nothing,
        };
        let x = Matrix::row_major(x, x.len() / inputs, inputs);
        let weight = Matrix::row_major(weight, outputs, inputs).transposed();
        multiply(y, outputs, x, weight, 1.0, keep);
    };
    let work = rows * outputs * inputs;
    let tasks = (work / PARALLEL_FLOOR).clamp(1, rayon::current_num_threads());
    // The kernel of `gemm` works on up to 24 rows at a time.
    let rows_each = rows.div_ceil(tasks).next_multiple_of(24);
    if tasks == 1 {
        block(&mut y, x);
    } else {
        y.par_chunks_mut(rows_each * outputs)
            .zip(x.par_chunks(rows_each * inputs))
            .for_each(|(y, x)| block(y, x));
    }
    y
}
