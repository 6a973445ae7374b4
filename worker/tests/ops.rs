//! Compares the CPU kernels with the candle operations.

#[cfg(test)]
#[path = "support/close.rs"]
mod close;
#[cfg(test)]
#[path = "support/numbers.rs"]
mod numbers;

use candle_core::{DType, Device, Result, Tensor};
use close::assert_close;
use glimpse_worker::{
    noise::{Generator, GeneratorKind},
    sdxl::ops::{self, Activation, Mask, Padding, portable},
};

/// The order of sums and the implementations of `exp` and `erf` differ.
const LIMIT: f64 = 2e-6;

/// Normal numbers, equal in every run.
#[cfg(test)]
struct NormalNumbers(Generator);

#[cfg(test)]
impl NormalNumbers {
    fn new() -> Self {
        Self(Generator::new(GeneratorKind::Cpu, 7))
    }

    fn draw(&mut self, shape: &[usize]) -> Result<Tensor> {
        Tensor::from_vec(self.0.normal(shape.iter().product()), shape, &Device::Cpu)
    }
}

#[test]
fn convolutions_of_every_kind() -> Result<()> {
    let mut numbers = NormalNumbers::new();
    // Channels, size, kernel, stride: odd sizes, single rows, strides that do not divide.
    for (i, o, h, w, kernel, stride) in [
        (3, 5, 7, 9, 3, 1),
        (4, 8, 16, 16, 3, 2),
        (8, 3, 5, 6, 3, 2),
        (20, 12, 9, 4, 1, 1),
        (2, 2, 1, 1, 3, 1),
        (1, 33, 130, 5, 5, 1),
    ] {
        let x = numbers.draw(&[2, i, h, w])?;
        let (weight, bias) = (numbers.draw(&[o, i, kernel, kernel])?, numbers.draw(&[o])?);
        let even = Padding::even(kernel / 2);
        for (padding, bias) in [(even, Some(&bias)), (even, None), (Padding { before: 0, after: 1 }, None)] {
            if h.min(w) + padding.before + padding.after < kernel {
                continue;
            }
            let fast = ops::conv2d(&x, &weight, bias, padding, stride)?;
            let plain = portable::conv2d(&x, &weight, bias, padding, stride)?;
            assert_close(&format!("{i}->{o} {h}x{w} k{kernel} s{stride}"), &fast, &plain, LIMIT);
        }
    }
    Ok(())
}

#[test]
fn linear_layers_over_any_shape() -> Result<()> {
    let mut numbers = NormalNumbers::new();
    for (shape, inputs, outputs) in [(vec![1], 7, 3), (vec![2, 77], 64, 200), (vec![3, 50, 2], 128, 1)] {
        let x = numbers.draw(&[shape.clone(), vec![inputs]].concat())?;
        let (weight, bias) = (numbers.draw(&[outputs, inputs])?, numbers.draw(&[outputs])?);
        for bias in [Some(&bias), None] {
            let fast = ops::linear(&x, &weight, bias)?;
            assert_close("linear", &fast, &portable::linear(&x, &weight, bias)?, LIMIT);
        }
    }
    Ok(())
}

#[test]
fn attention_with_and_without_a_mask() -> Result<()> {
    let mut numbers = NormalNumbers::new();
    for (queries, keys, heads, width) in [(1, 1, 1, 3), (77, 77, 2, 16), (200, 77, 5, 20), (130, 130, 1, 48)]
    {
        let (q, k, v) = (
            numbers.draw(&[2, queries, width])?,
            numbers.draw(&[2, keys, width])?,
            numbers.draw(&[2, keys, width])?,
        );
        let masks: &[Mask] = if queries == keys { &[Mask::None, Mask::Causal] } else { &[Mask::None] };
        for mask in masks {
            let fast = ops::attention(&q, &k, &v, heads, *mask)?;
            assert_close("attention", &fast, &portable::attention(&q, &k, &v, heads, *mask)?, LIMIT);
        }
    }
    Ok(())
}

#[test]
fn norms_far_from_zero() -> Result<()> {
    let mut numbers = NormalNumbers::new();
    // The mean is a hundred standard deviations, where a one-pass variance is inaccurate.
    let x = (numbers.draw(&[2, 12, 5, 7])? + 100.0)?;
    let (weight, bias) = (numbers.draw(&[12])?, numbers.draw(&[12])?);
    for groups in [1, 4, 12] {
        for activation in [None, Some(Activation::Silu)] {
            let fast = ops::group_norm(&x, groups, &weight, &bias, 1e-5, activation)?;
            let plain = portable::group_norm(&x, groups, &weight, &bias, 1e-5, activation)?;
            assert_close("group norm", &fast, &plain, 1e-4);
        }
    }
    let x = numbers.draw(&[3, 4, 12])?;
    let fast = ops::layer_norm(&x, &weight, &bias, 1e-5)?;
    assert_close("layer norm", &fast, &portable::layer_norm(&x, &weight, &bias, 1e-5)?, LIMIT);
    Ok(())
}

#[test]
fn activations_over_the_whole_range() -> Result<()> {
    let x = Tensor::arange(-2000f32, 2000f32, &Device::Cpu)?.affine(0.02, 0.0)?.reshape((40, 100))?;
    for activation in [Activation::Silu, Activation::Gelu, Activation::QuickGelu, Activation::Relu] {
        let plain = portable::activation(activation, &x)?;
        assert_close(&format!("{activation:?}"), &activation.forward(&x)?, &plain, 1e-6);
    }
    assert_close("geglu", &ops::geglu(&x)?, &portable::geglu(&x)?, 1e-6);
    Ok(())
}

#[test]
fn other_types_are_computed_in_f32_and_rounded() -> Result<()> {
    let mut numbers = NormalNumbers::new();
    let (x, weight) =
        (numbers.draw(&[4, 32])?.to_dtype(DType::BF16)?, numbers.draw(&[8, 32])?.to_dtype(DType::BF16)?);
    let y = ops::linear(&x, &weight, None)?;
    assert_eq!(y.dtype(), DType::BF16);
    let wide = ops::linear(&x.to_dtype(DType::F32)?, &weight.to_dtype(DType::F32)?, None)?;
    assert_close("bf16", &y, &wide.to_dtype(DType::BF16)?, 0.0);
    Ok(())
}
