//! Group norm (Wu and He 2018) and layer norm (Ba et al. 2016). Statistics are computed in f32 or f64.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::arguments::Activation;
use super::forms::own_form;
use super::slices::on_slices;
use super::{portable, simd};

/// Normalises each group of channels, scales and shifts each channel, then applies `activation` if there is one: this
/// saves a pass over the tensor.
///
/// `x` \[B, C, ..\], `weight` and `bias` \[C\] give the shape of `x`; `groups` divides C.
///
/// # Errors
/// If `groups` does not divide C or the device fails.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let channels = x.dim(1)?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        candle_core::bail!("group norm: {groups} groups do not divide {channels} channels");
    }
    if !x.device().is_cpu() {
        let own = own_form!(
            GroupNorm,
            x.device(),
            super::cuda::group_norm(x, groups, weight, bias, eps, activation)
        );
        return match own {
            Some(y) => Ok(y),
            None => portable::group_norm(x, groups, weight, bias, eps, activation),
        };
    }
    let area: usize = x.dims()[2..].iter().product();
    let per_group = channels / groups;
    on_slices([x, weight, bias], x.dims(), |[x, weight, bias]| {
        let mut y = vec![0f32; x.len()];
        let size = per_group * area;
        y.par_chunks_mut(size).zip(x.par_chunks(size)).enumerate().for_each(|(index, (y, x))| {
            let first = (index % groups) * per_group;
            simd::vectorised(
                #[inline(always)]
                || {
                    let (mean, scale) = statistics(x, eps);
                    for c in 0..per_group {
                        let a = scale * weight[first + c];
                        let b = bias[first + c] - mean * a;
                        let span = c * area..(c + 1) * area;
                        for (y, x) in y[span.clone()].iter_mut().zip(&x[span]) {
                            *y = x * a + b;
                        }
                    }
                },
            );
            if let Some(activation) = activation {
                activation.apply(y);
            }
        });
        y
    })
}

/// Normalises the last axis: `x` \[.., C\], `weight` and `bias` \[C\] give the shape of `x`.
///
/// # Errors
/// If the device fails.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if !x.device().is_cpu() {
        let own = own_form!(LayerNorm, x.device(), super::cuda::layer_norm(x, weight, bias, eps));
        return match own {
            Some(y) => Ok(y),
            None => portable::layer_norm(x, weight, bias, eps),
        };
    }
    let width = x.dim(D::Minus1)?;
    on_slices([x, weight, bias], x.dims(), |[x, weight, bias]| {
        let mut y = vec![0f32; x.len()];
        let block = (1usize << 14).div_ceil(width) * width;
        y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        let (mean, scale) = statistics(x, eps);
                        for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                            *y = (x - mean) * scale * w + b;
                        }
                    }
                },
            );
        });
        y
    })
}

/// Mean and 1 / sqrt(variance + eps). The variance is computed about the rounded mean, which avoids cancellation.
#[inline(always)]
fn statistics(x: &[f32], eps: f64) -> (f32, f32) {
    let n = x.len() as f64;
    let (sum, _) = simd::moments(x, 0.0);
    let mean = (sum / n) as f32;
    let (sum, square) = simd::moments(x, mean);
    // The rounded mean differs from the mean by sum / n: correct for it.
    let variance = (square - sum * sum / n) / n;
    (mean, (1.0 / (variance.max(0.0) + eps).sqrt()) as f32)
}
