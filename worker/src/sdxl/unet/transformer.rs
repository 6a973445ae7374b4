//! Self-attention and cross-attention to the prompt: diffusers' `Transformer2DModel`
//! (`models/transformers/transformer_2d.py`) and `BasicTransformerBlock` (`models/attention.py`).

use candle_core::Tensor;

use crate::sdxl::error::LoadError;
use crate::sdxl::layers::{Conv2d, GroupNorm, LayerNorm, Linear};
use crate::sdxl::ops::{self, Mask};
use crate::sdxl::weights::Vars;

/// The epsilon of the group norm at the entry of a transformer; a constant in diffusers.
const ENTRY_EPS: f64 = 1e-6;
/// The epsilon of the layer norms: torch's default.
const LAYER_EPS: f64 = 1e-5;
/// The width of a feed-forward layer, as a multiple of its input.
const EXPANSION: usize = 4;

/// The configuration of one transformer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransformerConfig {
    /// Channels of the feature map.
    pub(crate) channels: usize,
    /// Attention heads, each of width channels / heads.
    pub(crate) heads: usize,
    /// Transformer blocks.
    pub(crate) layers: usize,
    /// Width of the text embeddings.
    pub(crate) cross_attention_dim: usize,
    /// Groups of the group norm.
    pub(crate) norm_groups: usize,
    /// Linear layers as projections instead of 1x1 convolutions.
    pub(crate) use_linear_projection: bool,
}

/// diffusers' `Attention`: queries from one sequence, keys and values from another or the same.
#[derive(Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    fn new(vars: &Vars, width: usize, context: usize, heads: usize) -> Result<Self, LoadError> {
        Ok(Self {
            to_q: Linear::without_bias(&vars.at("to_q"), width, width)?,
            to_k: Linear::without_bias(&vars.at("to_k"), context, width)?,
            to_v: Linear::without_bias(&vars.at("to_v"), context, width)?,
            to_out: Linear::new(&vars.at("to_out.0"), width, width)?,
            heads,
        })
    }

    /// The attention of `x`, added to `residual`.
    fn forward_onto(&self, residual: &Tensor, x: &Tensor, context: &Tensor) -> candle_core::Result<Tensor> {
        let (q, k) = (self.to_q.forward(x)?, self.to_k.forward(context)?);
        let v = self.to_v.forward(context)?;
        self.to_out.forward_onto(residual, &ops::attention(&q, &k, &v, self.heads, Mask::None)?)
    }
}

/// Self-attention, cross-attention, GEGLU feed-forward. Each follows a norm and is added to its input.
#[derive(Debug)]
struct BasicTransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff_in: Linear,
    ff_out: Linear,
}

impl BasicTransformerBlock {
    fn new(vars: &Vars, width: usize, heads: usize, context: usize) -> Result<Self, LoadError> {
        let inner = width * EXPANSION;
        Ok(Self {
            norm1: LayerNorm::new(&vars.at("norm1"), width, LAYER_EPS)?,
            attn1: Attention::new(&vars.at("attn1"), width, width, heads)?,
            norm2: LayerNorm::new(&vars.at("norm2"), width, LAYER_EPS)?,
            attn2: Attention::new(&vars.at("attn2"), width, context, heads)?,
            norm3: LayerNorm::new(&vars.at("norm3"), width, LAYER_EPS)?,
            // Value and gate of the GEGLU.
            ff_in: Linear::new(&vars.at("ff.net.0.proj"), width, 2 * inner)?,
            ff_out: Linear::new(&vars.at("ff.net.2"), inner, width)?,
        })
    }

    /// `x` [B, HW, width] and `context` [B, T, D] give [B, HW, width].
    fn forward(&self, x: &Tensor, context: &Tensor) -> candle_core::Result<Tensor> {
        let normal = self.norm1.forward(x)?;
        let x = self.attn1.forward_onto(x, &normal, &normal)?;
        let x = self.attn2.forward_onto(&x, &self.norm2.forward(&x)?, context)?;
        let inner = ops::geglu(&self.ff_in.forward(&self.norm3.forward(&x)?)?)?;
        self.ff_out.forward_onto(&x, &inner)
    }
}

/// The projections to tokens and back.
#[derive(Debug)]
enum Projection {
    Linear { proj_in: Linear, proj_out: Linear },
    Conv { proj_in: Conv2d, proj_out: Conv2d },
}

/// Transformer blocks with pixels as tokens. The result is added to the input.
#[derive(Debug)]
pub(crate) struct Transformer2DModel {
    norm: GroupNorm,
    projection: Projection,
    blocks: Vec<BasicTransformerBlock>,
    inner: usize,
}

impl Transformer2DModel {
    /// Loads a transformer.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(vars: &Vars, config: TransformerConfig) -> Result<Self, LoadError> {
        let TransformerConfig { channels, heads, .. } = config;
        // Fewer than the channels if `heads` does not divide them.
        let inner = channels / heads * heads;
        let (entry, exit) = (vars.at("proj_in"), vars.at("proj_out"));
        let projection = if config.use_linear_projection {
            Projection::Linear {
                proj_in: Linear::new(&entry, channels, inner)?,
                proj_out: Linear::new(&exit, inner, channels)?,
            }
        } else {
            Projection::Conv {
                proj_in: Conv2d::new(&entry, channels, inner, 1)?,
                proj_out: Conv2d::new(&exit, inner, channels, 1)?,
            }
        };
        Ok(Self {
            norm: GroupNorm::new(&vars.at("norm"), channels, config.norm_groups, ENTRY_EPS, None)?,
            projection,
            blocks: (0..config.layers)
                .map(|i| {
                    let vars = vars.at("transformer_blocks").at(i);
                    BasicTransformerBlock::new(&vars, inner, heads, config.cross_attention_dim)
                })
                .collect::<Result<_, _>>()?,
            inner,
        })
    }

    /// `x` [B, C, H, W] and `context` [B, T, D] give [B, C, H, W].
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(&self, x: &Tensor, context: &Tensor) -> candle_core::Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        // [B, C, H, W] -> [B, HW, C]
        let tokens = |x: Tensor| x.flatten_from(2)?.transpose(1, 2)?.contiguous();
        let picture =
            |x: Tensor, channels| x.transpose(1, 2)?.contiguous()?.reshape((batch, channels, height, width));
        let normal = self.norm.forward(x)?;
        let mut h = match &self.projection {
            Projection::Linear { proj_in, .. } => proj_in.forward(&tokens(normal)?)?,
            Projection::Conv { proj_in, .. } => tokens(proj_in.forward(&normal)?)?,
        };
        for block in &self.blocks {
            h = block.forward(&h, context)?;
        }
        match &self.projection {
            Projection::Linear { proj_out, .. } => x + picture(proj_out.forward(&h)?, channels)?,
            Projection::Conv { proj_out, .. } => {
                proj_out.forward_plus(&picture(h, self.inner)?, None, Some(x))
            }
        }
    }
}
