//! The portable form of each operation: candle's operations only. A GPU runs it where it has no form of its own, and
//! all other forms are compared with it. Norms and softmax are computed in f32 for every dtype.

use candle_core::{D, DType, Result, Tensor};

use super::arguments::{Activation, Addends, Channels, LinearStep, Mask, Padding};
use super::bands;

/// Most attention scores of one call: candle's kernels index with 32 bits, and the self-attention of one 2048 x 1024
/// picture with guidance has more than 2^31 scores.
const SCORES: usize = 1 << 28;

/// See [`super::linear`].
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    let y = x.reshape(((), inputs))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape(shape)
}

/// See [`super::conv2d`].
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: Padding,
    stride: usize,
) -> Result<Tensor> {
    let y = bands::conv2d(x, weight, padding, stride, bands::COLUMNS)?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// See [`Activation::forward`].
///
/// # Errors
/// If the device fails.
pub fn activation(function: Activation, x: &Tensor) -> Result<Tensor> {
    match function {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
        Activation::Relu => x.relu(),
    }
}

/// See [`super::geglu`].
///
/// # Errors
/// If the last axis is odd or the device fails.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let value = x.narrow(D::Minus1, 0, half)?;
    let gate = x.narrow(D::Minus1, half, half)?;
    value.contiguous()? * gate.contiguous()?.gelu_erf()?
}

/// See [`super::group_norm`].
///
/// # Errors
/// If `groups` does not divide the channels or the device fails.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    function: Option<Activation>,
) -> Result<Tensor> {
    let (batch, channels) = (x.dim(0)?, x.dim(1)?);
    let grouped = x.to_dtype(DType::F32)?.reshape((batch, groups, ()))?;
    let normal = normalise(&grouped, eps)?.reshape((batch, channels, ()))?;
    let weight = weight.to_dtype(DType::F32)?.reshape((1, channels, 1))?;
    let bias = bias.to_dtype(DType::F32)?.reshape((1, channels, 1))?;
    let y = normal.broadcast_mul(&weight)?.broadcast_add(&bias)?.reshape(x.shape())?.to_dtype(x.dtype())?;
    match function {
        Some(function) => activation(function, &y),
        None => Ok(y),
    }
}

/// See [`super::layer_norm`].
///
/// # Errors
/// If the device fails.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let normal = normalise(&x.to_dtype(DType::F32)?, eps)?;
    normal
        .broadcast_mul(&weight.to_dtype(DType::F32)?)?
        .broadcast_add(&bias.to_dtype(DType::F32)?)?
        .to_dtype(x.dtype())
}

fn normalise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}

/// See [`super::attention`].
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: Mask) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    let d = width / heads;
    // [B, T, H d] -> [B H, T, d]
    let split = |x: &Tensor| {
        x.reshape((batch, (), heads, d))?.transpose(1, 2)?.contiguous()?.reshape((batch * heads, (), d))
    };
    let (q, k, v) = ((split(q)? * (1.0 / (d as f64).sqrt()))?, split(k)?.t()?.contiguous()?, split(v)?);
    let rows = (SCORES / (batch * heads * keys).max(1)).clamp(1, queries);
    let mut parts = Vec::with_capacity(queries.div_ceil(rows));
    for first in (0..queries).step_by(rows) {
        let rows = rows.min(queries - first);
        let mut scores = q.narrow(1, first, rows)?.contiguous()?.matmul(&k)?.to_dtype(DType::F32)?;
        if mask == Mask::Causal {
            let hidden: Vec<f32> = (first..first + rows)
                .flat_map(|i| (0..keys).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 }))
                .collect();
            scores = scores.broadcast_add(&Tensor::from_vec(hidden, (1, rows, keys), q.device())?)?;
        }
        parts.push(candle_nn::ops::softmax_last_dim(&scores)?.to_dtype(v.dtype())?.matmul(&v)?);
    }
    // [B H, T, d] -> [B, T, H d]
    Tensor::cat(&parts, 1)?
        .reshape((batch, heads, queries, d))?
        .transpose(1, 2)?
        .reshape((batch, queries, width))
}

/// See [`super::add`].
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn add(product: Tensor, addends: Addends<'_>, channels: Channels) -> Result<Tensor> {
    // [C] or [B, C] -> a shape that broadcasts to the product's.
    let beside = |x: &Tensor| -> Result<Tensor> {
        let (rank, own) = (product.rank(), x.dims());
        let mut shape = vec![1; rank];
        shape[if channels == Channels::Last { rank - 1 } else { 1 }] = own[own.len() - 1];
        if own.len() == 2 {
            shape[0] = own[0];
        }
        x.reshape(shape)
    };
    let mut sum = product.clone();
    for addend in [addends.bias, addends.shift].into_iter().flatten() {
        sum = sum.broadcast_add(&beside(addend)?)?;
    }
    match addends.residual {
        Some(residual) => sum + residual,
        None => Ok(sum),
    }
}

/// See [`super::guided_step`]; the predictions are f32.
///
/// # Errors
/// If the shapes do not match or the device fails.
pub fn guided_step(
    [negative, positive]: [&Tensor; 2],
    scale: f64,
    sample: &Tensor,
    LinearStep { a, b, c, d }: LinearStep,
) -> Result<[Tensor; 2]> {
    let guided = (negative + ((positive - negative)? * scale)?)?;
    let weighted = |of_sample: f64, of_guided: f64| (sample * of_sample)? + (&guided * of_guided)?;
    Ok([weighted(a, b)?, weighted(c, d)?])
}

/// See [`super::pixels`].
///
/// # Errors
/// If the shape is another or the device fails.
pub fn pixels(images: &Tensor) -> Result<Option<Vec<u8>>> {
    // [B, 3, H, W] -> [B, H, W, 3]
    let rows = images.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?;
    let values: Vec<f32> = rows.flatten_all()?.to_vec1()?;
    if values.iter().any(|v| !v.is_finite()) {
        return Ok(None);
    }
    let byte = |v: &f32| ((v / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    Ok(Some(values.iter().map(byte).collect()))
}

/// See [`super::FiniteWatch`]: one f32, which is 0, or NaN if a number is not finite.
///
/// # Errors
/// If the device fails.
pub fn zero_if_finite(tensor: &Tensor) -> Result<Tensor> {
    // Infinity times 0 is NaN, a sum with NaN is NaN, and a sum of zeros cannot overflow.
    tensor.affine(0.0, 0.0)?.sum_all()?.to_dtype(DType::F32)
}
