//! Multi-head attention softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017), without all scores in memory at once.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::arguments::Mask;
use super::forms::own_form;
use super::gemm::{Keep, Matrix, multiply};
use super::slices::on_slices;
use super::{portable, simd};

/// Most scores of one task: 64 rows of 4096 keys are 1 MiB.
const SCORES: usize = 1 << 18;

/// `q` [B, Q, H d], `k` and `v` [B, K, H d] give [B, Q, H d]. The heads are side by side in the last axis.
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: Mask) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let (_, keys, _) = k.dims3()?;
    if k.dims() != [batch, keys, width] || v.dims() != k.dims() || !width.is_multiple_of(heads) {
        candle_core::bail!(
            "attention: q {:?}, k {:?} and v {:?} do not match with {heads} heads",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    if !q.device().is_cpu() {
        return match own_form!(Attention, q.device(), super::cuda::attention(q, k, v, heads, mask)) {
            Some(y) => Ok(y),
            None => portable::attention(q, k, v, heads, mask),
        };
    }
    let d = width / heads;
    let scale = 1.0 / (d as f32).sqrt();
    on_slices([q, k, v], q.dims(), |[q, k, v]| {
        let mut y = vec![0f32; q.len()];
        let rows = (SCORES / keys.max(1)).clamp(8, 64);
        let spread = (batch * queries).div_ceil(rayon::current_num_threads()).max(8);
        let rows = rows.min(spread).min(queries.max(1));
        let blocks = queries.div_ceil(rows.max(1));
        let tasks: Vec<_> = y
            .chunks_mut(queries * width)
            .enumerate()
            .flat_map(|(b, y)| y.chunks_mut(rows * width).enumerate().map(move |(i, y)| (b, i * rows, y)))
            .collect();
        debug_assert_eq!(tasks.len(), batch * blocks);
        tasks.into_par_iter().for_each(|(b, first, y)| {
            let rows = y.len() / width;
            let q = &q[(b * queries + first) * width..][..rows * width];
            let k = &k[b * keys * width..][..keys * width];
            let v = &v[b * keys * width..][..keys * width];
            let head = |x, rows, h: usize| {
                let data: &[f32] = x;
                Matrix { data: &data[h * d..], rows, cols: d, row_stride: width, col_stride: 1 }
            };
            let mut scores = vec![0f32; rows * keys];
            for h in 0..heads {
                let (q, k, v) = (head(q, rows, h), head(k, keys, h), head(v, keys, h));
                multiply(&mut scores, keys, q, k.transposed(), scale, Keep::Nothing);
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
                            let seen = if mask == Mask::Causal { (first + i + 1).min(keys) } else { keys };
                            simd::softmax(&mut row[..seen]);
                            row[seen..].fill(0.0);
                        }
                    },
                );
                let scores = Matrix::row_major(&scores, rows, keys);
                multiply(&mut y[h * d..], width, scores, v, 1.0, Keep::Nothing);
            }
        });
        y
    })
}
