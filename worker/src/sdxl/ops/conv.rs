//! Two-dimensional convolution, NCHW.

use std::ops::Range;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::addends::{Addends, Channels, add};
use super::arguments::Padding;
use super::forms::own_form;
use super::gemm::{Keep, Matrix, multiply};
use super::portable;
use super::slices::on_slices;

/// Numbers of a column buffer: 1 MiB, so that it stays in the L2 cache together with the weights.
const COLUMNS: usize = 1 << 18;

/// Sizes of one convolution, in pixels or channels.
struct Geometry {
    channels: usize,
    height: usize,
    width: usize,
    kernel: (usize, usize),
    stride: usize,
    before: usize,
    out_channels: usize,
    out_height: usize,
    out_width: usize,
}

/// `x` \[B, I, H, W\], `weight` \[O, I, kh, kw\], addends of O channels give \[B, O, H', W'\] with
/// H' = (H + before + after - kh) / stride + 1.
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn conv2d<'a>(
    x: &Tensor,
    weight: &Tensor,
    addends: impl Into<Addends<'a>>,
    padding: Padding,
    stride: usize,
) -> Result<Tensor> {
    let addends = addends.into();
    if !x.device().is_cpu() {
        let own = own_form!(Conv2d, x.device(), super::cuda::conv2d(x, weight, padding, stride));
        let product = match own {
            Some(product) => product,
            None => portable::conv2d(x, weight, None, padding, stride)?,
        };
        return add(product, addends, Channels::Second);
    }
    let (batch, channels, height, width) = x.dims4()?;
    let (out_channels, inputs, kh, kw) = weight.dims4()?;
    let around = padding.before + padding.after;
    if inputs != channels || height + around < kh || width + around < kw {
        candle_core::bail!("conv2d: {:?} does not fit a kernel of {:?}", x.dims(), weight.dims());
    }
    let geometry = Geometry {
        channels,
        height,
        width,
        kernel: (kh, kw),
        stride,
        before: padding.before,
        out_channels,
        out_height: (height + around - kh) / stride + 1,
        out_width: (width + around - kw) / stride + 1,
    };
    let shape = [batch, out_channels, geometry.out_height, geometry.out_width];
    let product = match addends.bias {
        Some(bias) => on_slices([x, weight, bias], &shape, |[x, w, b]| geometry.run(x, w, Some(b))),
        None => on_slices([x, weight], &shape, |[x, w]| geometry.run(x, w, None)),
    };
    add(product?, Addends { bias: None, ..addends }, Channels::Second)
}

impl Geometry {
    /// Each task computes some rows of one picture: it gathers the pixels under the kernel into columns (im2col),
    /// multiplies once, and copies the product to its rows of each output channel.
    fn run(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let depth = self.channels * self.kernel.0 * self.kernel.1;
        let area = self.out_height * self.out_width;
        let batch = x.len() / (self.channels * self.height * self.width);
        let mut y = vec![0f32; batch * self.out_channels * area];

        let cached = (COLUMNS / (depth * self.out_width)).max(256usize.div_ceil(self.out_width));
        let shared = (batch * self.out_height).div_ceil(rayon::current_num_threads());
        let rows = cached.min(shared).clamp(1, self.out_height);
        let blocks = self.out_height.div_ceil(rows);

        // Each task's part of the output: one slice per channel.
        let mut parts: Vec<Vec<&mut [f32]>> =
            (0..batch * blocks).map(|_| Vec::with_capacity(self.out_channels)).collect();
        for (channel, plane) in y.chunks_mut(area).enumerate() {
            let picture = channel / self.out_channels;
            for (block, part) in plane.chunks_mut(rows * self.out_width).enumerate() {
                parts[picture * blocks + block].push(part);
            }
        }
        // A 1x1 convolution without padding needs no column buffer.
        let same_size = (self.out_height, self.out_width) == (self.height, self.width);
        let plain = self.kernel == (1, 1) && self.before == 0 && same_size;
        parts.into_par_iter().enumerate().for_each(|(index, mut part)| {
            let picture = &x[index / blocks * self.channels * self.height * self.width..]
                [..self.channels * self.height * self.width];
            let first = index % blocks * rows;
            let rows = first..(first + rows).min(self.out_height);
            let pixels = rows.len() * self.out_width;
            let gathered;
            let columns = if plain {
                Matrix {
                    data: &picture[first * self.width..],
                    rows: depth,
                    cols: pixels,
                    row_stride: self.height * self.width,
                    col_stride: 1,
                }
            } else {
                gathered = self.columns(picture, rows);
                Matrix::row_major(&gathered, depth, pixels)
            };
            let mut product = vec![0f32; self.out_channels * pixels];
            let keep = match bias {
                Some(bias) => {
                    product.chunks_exact_mut(pixels).zip(bias).for_each(|(row, b)| row.fill(*b));
                    Keep::Sum
                }
                None => Keep::Nothing,
            };
            let weight = Matrix::row_major(weight, self.out_channels, depth);
            multiply(&mut product, pixels, weight, columns, 1.0, keep);
            for (part, row) in part.iter_mut().zip(product.chunks_exact(pixels)) {
                part.copy_from_slice(row);
            }
        });
        y
    }

    /// The column buffer [I kh kw, rows W']: row (i, ky, kx) has the pixels of channel i under kernel cell (ky, kx).
    fn columns(&self, picture: &[f32], rows: Range<usize>) -> Vec<f32> {
        let (kh, kw) = self.kernel;
        let (stride, before) = (self.stride, self.before);
        let pixels = rows.len() * self.out_width;
        let mut columns = vec![0f32; self.channels * kh * kw * pixels];
        for (index, cell) in columns.chunks_exact_mut(pixels).enumerate() {
            let (ky, kx) = (index / kw % kh, index % kw);
            let plane = &picture[index / (kh * kw) * self.height * self.width..][..self.height * self.width];
            // Output columns whose source x * stride + kx - before lies inside the picture.
            let from = before.saturating_sub(kx).div_ceil(stride).min(self.out_width);
            let end = (self.width + before).saturating_sub(kx).div_ceil(stride).clamp(from, self.out_width);
            for (line, y) in cell.chunks_exact_mut(self.out_width).zip(rows.clone()) {
                let Some(source) = (y * stride + ky).checked_sub(before).filter(|s| *s < self.height) else {
                    continue;
                };
                let source = &plane[source * self.width..][..self.width];
                let start = from * stride + kx;
                if from == end {
                    continue;
                }
                let source = &source[start - before..];
                if stride == 1 {
                    line[from..end].copy_from_slice(&source[..end - from]);
                } else {
                    for (to, value) in line[from..end].iter_mut().zip(source.iter().step_by(stride)) {
                        *to = *value;
                    }
                }
            }
        }
        columns
    }
}
