//! The cases of each operation: how its inputs look, and how both forms are called.

use candle_core::{DType, Result, Tensor};

use super::case::{Arithmetic, Case, Form, Input, Output};
use crate::sdxl::ops::{
    self, Activation, Addends, Channels, FiniteWatch, LinearStep, Mask, Op, Padding, portable,
};

/// A form of so many inputs.
fn form<const N: usize>(run: impl Fn([&Tensor; N]) -> Result<Output> + 'static) -> Form {
    Box::new(move |inputs| match <&[Tensor; N]>::try_from(inputs) {
        Ok(inputs) => run(inputs.each_ref()),
        Err(_) => candle_core::bail!("{} tensors were given, {N} are needed", inputs.len()),
    })
}

/// A form that gives one tensor.
fn tensor<const N: usize>(run: impl Fn([&Tensor; N]) -> Result<Tensor> + 'static) -> Form {
    form(move |inputs| Ok(Output::Tensors(vec![run(inputs)?])))
}

/// `2x320x128x128`.
fn named(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// A convolution of square pictures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conv {
    /// [B, I, side, side].
    pub(super) x: [usize; 4],
    pub(super) outputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: Padding,
}

pub(super) fn conv2d(dtype: DType, conv: Conv) -> Case {
    let Conv { x, outputs, kernel, stride, padding } = conv;
    let weight = [outputs, x[1], kernel, kernel];
    let strided = if stride == 1 { String::new() } else { format!(", stride {stride}") };
    let deviation = ((x[1] * kernel * kernel) as f64).powf(-0.5);
    Case {
        op: Op::Conv2d,
        shape: format!("{} to {outputs}, {kernel}x{kernel}{strided}", named(&x)),
        dtype,
        result: dtype,
        arithmetic: Arithmetic::Products,
        inputs: vec![Input::new(dtype, x), Input::new(dtype, weight).around(0.0, deviation)],
        // The addends are an operation of their own.
        own: tensor(move |[x, weight]| ops::conv2d(x, weight, None, padding, stride)),
        portable: tensor(move |[x, weight]| portable::conv2d(x, weight, None, padding, stride)),
    }
}

/// `q` [B, Q, heads d], `keys` keys.
pub(super) fn attention(dtype: DType, q: [usize; 3], keys: usize, heads: usize, mask: Mask) -> Case {
    let kv = [q[0], keys, q[2]];
    let masked = if mask == Mask::Causal { ", causal" } else { "" };
    Case {
        op: Op::Attention,
        shape: format!("{}, {heads} heads, {keys} keys{masked}", named(&q)),
        dtype,
        result: dtype,
        arithmetic: Arithmetic::Products,
        inputs: vec![Input::new(dtype, q), Input::new(dtype, kv), Input::new(dtype, kv)],
        own: tensor(move |[q, k, v]| ops::attention(q, k, v, heads, mask)),
        portable: tensor(move |[q, k, v]| portable::attention(q, k, v, heads, mask)),
    }
}

/// The groups of SDXL's group norms.
const GROUPS: usize = 32;

pub(super) fn group_norm(dtype: DType, x: [usize; 4], eps: f64, activation: Option<Activation>) -> Case {
    let and = if activation.is_some() { ", SiLU" } else { "" };
    Case {
        op: Op::GroupNorm,
        shape: format!("{}, eps {eps:e}{and}", named(&x)),
        dtype,
        result: dtype,
        arithmetic: Arithmetic::Single,
        inputs: of_norm(dtype, &x, x[1]),
        own: tensor(move |[x, weight, bias]| ops::group_norm(x, GROUPS, weight, bias, eps, activation)),
        portable: tensor(move |[x, weight, bias]| {
            portable::group_norm(x, GROUPS, weight, bias, eps, activation)
        }),
    }
}

/// `x` [B, T, C].
pub(super) fn layer_norm(dtype: DType, x: [usize; 3]) -> Case {
    const EPS: f64 = 1e-5;
    Case {
        op: Op::LayerNorm,
        shape: named(&x),
        dtype,
        result: dtype,
        arithmetic: Arithmetic::Single,
        inputs: of_norm(dtype, &x, x[2]),
        own: tensor(|[x, weight, bias]| ops::layer_norm(x, weight, bias, EPS)),
        portable: tensor(|[x, weight, bias]| portable::layer_norm(x, weight, bias, EPS)),
    }
}

/// Numbers that are not normalised yet, weight and bias.
fn of_norm(dtype: DType, x: &[usize], channels: usize) -> Vec<Input> {
    let of_channels = || Input::new(dtype, [channels]);
    vec![Input::new(dtype, x).around(0.5, 2.0), of_channels().around(1.0, 0.2), of_channels()]
}

/// `x` [B, T, 2 N].
pub(super) fn geglu(dtype: DType, x: [usize; 3]) -> Case {
    Case {
        op: Op::Geglu,
        shape: named(&x),
        dtype,
        result: dtype,
        arithmetic: Arithmetic::Single,
        inputs: vec![Input::new(dtype, x)],
        own: tensor(|[x]| ops::geglu(x)),
        portable: tensor(|[x]| portable::geglu(x)),
    }
}

/// What is added besides a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Besides {
    Nothing,
    Shift,
    Residual,
    Both,
}

pub(super) fn addends(dtype: DType, product: &[usize], channels: Channels, besides: Besides) -> Case {
    let (axis, layout) = match channels {
        Channels::Second => (1, "channels second"),
        Channels::Last => (product.len() - 1, "channels last"),
    };
    let mut inputs = vec![Input::new(dtype, product), Input::new(dtype, [product[axis]])];
    let (shift, residual) = match besides {
        Besides::Nothing => (None, None),
        Besides::Shift => (Some(2), None),
        Besides::Residual => (None, Some(2)),
        Besides::Both => (Some(2), Some(3)),
    };
    let mut parts = String::from("bias");
    if shift.is_some() {
        inputs.push(Input::new(dtype, [product[0], product[axis]]));
        parts.push_str(", shift");
    }
    if residual.is_some() {
        inputs.push(Input::new(dtype, product));
        parts.push_str(", residual");
    }
    let with = move |add: fn(Tensor, Addends<'_>, Channels) -> Result<Tensor>| -> Form {
        Box::new(move |inputs| {
            let at = |place: Option<usize>| place.and_then(|place| inputs.get(place));
            let addends = Addends { bias: at(Some(1)), shift: at(shift), residual: at(residual) };
            Ok(Output::Tensors(vec![add(inputs[0].clone(), addends, channels)?]))
        })
    };
    Case {
        op: Op::Addends,
        shape: format!("{}, {layout}, {parts}", named(product)),
        dtype,
        result: dtype,
        arithmetic: Arithmetic::Single,
        inputs,
        own: with(ops::add),
        portable: with(portable::add),
    }
}

/// `sample` [B, 4, h, w].
pub(super) fn guided_step(dtype: DType, sample: [usize; 4], is_guided: bool) -> Case {
    // Euler's step from one noise level to the next; SDXL's usual scale.
    const STEP: LinearStep = LinearStep { a: 1.0, b: 6.5 - 8.0, c: 1.0, d: -8.0 };
    const SCALE: f64 = 5.0;
    let prediction = Input::new(dtype, sample);
    Case {
        op: Op::GuidedStep,
        shape: format!("{}, {}", named(&sample), if is_guided { "guided" } else { "not guided" }),
        dtype,
        result: DType::F32,
        arithmetic: Arithmetic::Single,
        inputs: vec![prediction.clone(), prediction, Input::new(DType::F32, sample).around(0.0, 8.0)],
        own: form(move |[negative, positive, sample]| {
            Ok(Output::Tensors(
                ops::guided_step(pair([negative, positive], is_guided), SCALE, sample, STEP)?.into(),
            ))
        }),
        portable: form(move |[negative, positive, sample]| {
            let [negative, positive] = [negative.to_dtype(DType::F32)?, positive.to_dtype(DType::F32)?];
            let pair = pair([&negative, &positive], is_guided);
            Ok(Output::Tensors(portable::guided_step(pair, SCALE, sample, STEP)?.into()))
        }),
    }
}

/// Without guidance there is one prediction.
fn pair([negative, positive]: [&Tensor; 2], is_guided: bool) -> [&Tensor; 2] {
    if is_guided { [negative, positive] } else { [negative, negative] }
}

/// `images` [B, 3, H, W]. With `bad` as the last number there is no picture.
pub(super) fn pixels(dtype: DType, images: [usize; 4], bad: Option<f32>) -> Case {
    let (shape, input) = ending(dtype, &images, bad);
    Case {
        op: Op::Pixels,
        shape,
        dtype,
        result: dtype,
        arithmetic: Arithmetic::Exact,
        inputs: vec![input],
        own: form(|[images]| Ok(Output::Bytes(ops::pixels(images)?))),
        portable: form(|[images]| Ok(Output::Bytes(portable::pixels(images)?))),
    }
}

/// Whether `x` is finite, which it is not with `bad` as its last number.
pub(super) fn finite(dtype: DType, x: [usize; 4], bad: Option<f32>) -> Case {
    let (shape, input) = ending(dtype, &x, bad);
    Case {
        op: Op::Finite,
        shape,
        dtype,
        result: dtype,
        arithmetic: Arithmetic::Exact,
        inputs: vec![input],
        own: form(|[x]| Ok(Output::Flag(FiniteWatch::default().see(x)?.is_finite()?))),
        portable: form(|[x]| Ok(Output::Flag(portable::zero_if_finite(x)?.to_scalar::<f32>()? == 0.0))),
    }
}

fn ending(dtype: DType, shape: &[usize], bad: Option<f32>) -> (String, Input) {
    let input = Input::new(dtype, shape);
    match bad {
        Some(bad) => (format!("{}, with one {bad}", named(shape)), input.ending_in(bad)),
        None => (named(shape), input),
    }
}
