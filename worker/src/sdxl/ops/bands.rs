//! candle's convolution, some rows at a time. Without cuDNN candle copies the pixels below each kernel cell into
//! columns: 9 GiB for one layer of a VAE at 1024 x 1024. Also, its kernels and cuDNN's index with 32 bits.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};

use super::arguments::Padding;

/// Most numbers in the columns of one call: 1 GiB in f32.
pub(super) const COLUMNS: usize = 1 << 28;

/// `x` [B, I, H, W] and `weight` [O, I, kh, kw] give [B, O, H', W']. If the columns of all output rows have more than
/// `columns` numbers, takes one picture and some rows at a time. On a device other than the CPU, half precision is
/// computed in f32, because candle would sum in half precision.
pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    padding: Padding,
    stride: usize,
    columns: usize,
) -> Result<Tensor> {
    let (batch, inputs, height, width) = x.dims4()?;
    let (_, _, kh, kw) = weight.dims4()?;
    let around = padding.before + padding.after;
    if height + around < kh || width + around < kw {
        candle_core::bail!("conv2d: {:?} does not fit a kernel of {:?}", x.dims(), weight.dims());
    }
    let rows = (height + around - kh) / stride + 1;
    let row = inputs * kh * kw * ((width + around - kw) / stride + 1);
    let dtype = x.dtype();
    let wide = if x.device().is_cpu() { dtype } else { DType::F32 };
    let weight = weight.to_dtype(wide)?;
    if batch * rows * row <= columns {
        return product(&x.to_dtype(wide)?, &weight, padding, stride)?.to_dtype(dtype);
    }
    let padded = |picture: &Tensor| {
        picture.pad_with_zeros(2, padding.before, padding.after)?.pad_with_zeros(
            3,
            padding.before,
            padding.after,
        )
    };
    let band = (columns / row).clamp(1, rows);
    let mut pictures = Vec::with_capacity(batch);
    for picture in 0..batch {
        let padded = padded(&x.narrow(0, picture, 1)?)?;
        let part = |Range { start, end }: Range<usize>| {
            let seen = (end - start - 1) * stride + kh;
            let seen = padded.narrow(2, start * stride, seen)?.to_dtype(wide)?.contiguous()?;
            product(&seen, &weight, Padding::even(0), stride)?.to_dtype(dtype)
        };
        let firsts = (0..rows).step_by(band);
        let bands = firsts.map(|first| part(first..(first + band).min(rows))).collect::<Result<Vec<_>>>()?;
        pictures.push(Tensor::cat(&bands, 2)?);
    }
    Tensor::cat(&pictures, 0)
}

/// The whole convolution.
fn product(x: &Tensor, weight: &Tensor, padding: Padding, stride: usize) -> Result<Tensor> {
    if padding.before == padding.after {
        return x.conv2d(weight, padding.before, stride, 1, 1);
    }
    let x = x.pad_with_zeros(2, padding.before, padding.after)?;
    x.pad_with_zeros(3, padding.before, padding.after)?.conv2d(weight, 0, stride, 1, 1)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Whole numbers, so that sums are exact in any order.
    fn numbers(shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i * 37 + i / 5) % 11) as f32 - 5.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).expect("numbers of that shape")
    }

    #[test]
    fn bands_of_any_height_give_the_whole() -> Result<()> {
        for (kernel, stride, padding) in [
            (3, 1, Padding::even(1)),
            (3, 2, Padding::even(1)),
            (3, 2, Padding { before: 0, after: 1 }),
            (1, 1, Padding::even(0)),
            (5, 3, Padding::even(2)),
        ] {
            let (x, weight) = (numbers(&[2, 3, 11, 6]), numbers(&[4, 3, kernel, kernel]));
            let whole = conv2d(&x, &weight, padding, stride, usize::MAX)?;
            for columns in [1, 400, 1500, 3000] {
                let parts = conv2d(&x, &weight, padding, stride, columns)?;
                let difference = (&whole - &parts)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert_eq!(difference, 0.0, "kernel {kernel}, stride {stride}, {columns} columns");
            }
        }
        Ok(())
    }
}
