//! FlashAttention-2 (Dao 2023), of `candle-flash-attn`.

use candle_core::{Result, Tensor};

use super::super::arguments::Mask;

/// See [`super::super::attention`]. Half precision alone, and the head sizes that scripts/build-cuda compiles: the
/// UNet's and text encoders' 64, and the VAE's 512 without a mask.
#[cfg(feature = "flash-attn")]
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: Mask,
) -> Result<Option<Tensor>> {
    use candle_core::DType;

    use super::tensors::{Operands, operands};

    let Some(Operands { dtype, tensors: [q, k, v], .. }) = operands([q, k, v])? else { return Ok(None) };
    let (batch, _, width) = q.dims3()?;
    let d = width / heads;
    let is_size = d == 64 || d == 512 && mask == Mask::None;
    // The library takes strides as numbers of 32 bits.
    let is_small = [&q, &k].iter().all(|x| x.elem_count() / batch <= u32::MAX as usize);
    if dtype == DType::F32 || !is_size || !is_small {
        return Ok(None);
    }
    // [B, N, H d] -> [B, N, H, d]
    let split = |x: &Tensor| x.reshape((batch, (), heads, d));
    let scale = 1.0 / (d as f32).sqrt();
    let causal = mask == Mask::Causal;
    let y = candle_flash_attn::flash_attn(&split(&q)?, &split(&k)?, &split(&v)?, scale, causal)?;
    y.reshape(q.shape()).map(Some)
}

/// Without the library there is no form of its own.
#[cfg(not(feature = "flash-attn"))]
pub(crate) fn attention(_: &Tensor, _: &Tensor, _: &Tensor, _: usize, _: Mask) -> Result<Option<Tensor>> {
    Ok(None)
}
