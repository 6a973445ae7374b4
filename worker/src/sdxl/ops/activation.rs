//! Activation functions.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::arguments::Activation;
use super::forms::own_form;
use super::slices::on_slices;
use super::{portable, simd};

/// Numbers per task: small enough to use all cores, large enough to hide the cost of a task.
const BLOCK: usize = 1 << 14;

impl Activation {
    /// Applies the function to each number; `x` has any shape.
    ///
    /// # Errors
    /// If the device fails.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if !x.device().is_cpu() {
            return portable::activation(self, x);
        }
        on_slices([x], x.dims(), |[x]| {
            let mut y = x.to_vec();
            y.par_chunks_mut(BLOCK).for_each(|block| self.apply(block));
            y
        })
    }

    /// Applies the function in place.
    #[inline]
    pub(super) fn apply(self, values: &mut [f32]) {
        simd::vectorised(
            #[inline(always)]
            || match self {
                Self::Silu => values.iter_mut().for_each(|v| *v = simd::silu(*v)),
                Self::Gelu => values.iter_mut().for_each(|v| *v = simd::gelu(*v)),
                Self::QuickGelu => values.iter_mut().for_each(|v| *v = simd::quick_gelu(*v)),
                Self::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
            },
        );
    }
}

/// Gated linear unit with exact GELU (Shazeer 2020, "GLU Variants Improve Transformer"), as diffusers' `GEGLU`. The
/// first half of the last axis is the value, the second half is the gate.
///
/// `x` [.., 2 N] gives [.., N].
///
/// # Errors
/// If the last axis is odd or the device fails.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return match own_form!(Geglu, x.device(), super::cuda::geglu(x)) {
            Some(y) => Ok(y),
            None => portable::geglu(x),
        };
    }
    let half = x.dim(D::Minus1)? / 2;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = half;
    }
    on_slices([x], &shape, |[x]| {
        let mut y = vec![0f32; x.len() / 2];
        let rows = (BLOCK / half.max(1)).max(1);
        y.par_chunks_mut(rows * half).zip(x.par_chunks(rows * 2 * half)).for_each(|(y, x)| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(half).zip(x.chunks_exact(2 * half)) {
                        let (value, gate) = x.split_at(half);
                        for ((y, value), gate) in y.iter_mut().zip(value).zip(gate) {
                            *y = value * simd::gelu(*gate);
                        }
                    }
                },
            );
        });
        y
    })
}
