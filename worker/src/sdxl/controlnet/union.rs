//! What a ControlNet of several kinds of pictures has besides: diffusers' `ControlNetUnionModel`
//! (`models/controlnets/controlnet_union.py`, after xinsir's ControlNet++). A number says which kind the picture is of.

use candle_core::{D, DType, Device, Tensor};

use super::config::{ControlNetConfig, UnionConfig};
use crate::sdxl::error::LoadError;
use crate::sdxl::layers::{LayerNorm, Linear};
use crate::sdxl::ops::{self, Activation, Mask};
use crate::sdxl::unet::{TimestepEmbedding, Timesteps};
use crate::sdxl::weights::Vars;

/// torch's default of a layer norm's epsilon.
const EPS: f64 = 1e-5;

/// The parts that depend on the kind of picture.
#[derive(Debug)]
pub(super) struct Union {
    /// [modes, C].
    tasks: Tensor,
    layers: Vec<Layer>,
    projection: Linear,
    flags: Timesteps,
    embedding: TimestepEmbedding,
    modes: usize,
    dtype: DType,
}

/// What is the same in all steps for a kind of picture.
#[derive(Debug, Clone)]
pub(super) struct Mode {
    /// [1, C].
    task: Tensor,
    /// What is added to the time embedding: [1, E].
    pub(super) time: Tensor,
}

impl Union {
    /// Loads the layers.
    pub(super) fn new(
        root: &Vars,
        config: &ControlNetConfig,
        union: UnionConfig,
        dtype: DType,
    ) -> Result<Self, LoadError> {
        let half = &config.half;
        let (modes, width) = (union.modes, half.levels[0].channels);
        let flags = half.addition_time_embed_dim;
        let layer = |i: usize| Layer::new(&root.at("transformer_layes").at(i), width, union.heads);
        Ok(Self {
            tasks: root.tensor("task_embedding", &[modes, width])?,
            layers: (0..union.layers).map(layer).collect::<Result<_, _>>()?,
            projection: Linear::new(&root.at("spatial_ch_projs"), width, width)?,
            flags: Timesteps::new(flags, half.flip_sin_to_cos, half.freq_shift),
            embedding: TimestepEmbedding::new(
                &root.at("control_add_embedding"),
                flags * modes,
                half.time_embed_dim,
                Activation::Silu,
            )?,
            modes,
            dtype,
        })
    }

    /// How many kinds of pictures there are.
    pub(super) fn modes(&self) -> usize {
        self.modes
    }

    /// The embeddings of a kind, below [`Union::modes`].
    pub(super) fn mode(&self, mode: usize, device: &Device) -> candle_core::Result<Mode> {
        let flags: Vec<f32> = (0..self.modes).map(|other| if other == mode { 1.0 } else { 0.0 }).collect();
        let flags = self.flags.forward(&flags, self.dtype, device)?.reshape((1, ()))?;
        Ok(Mode { task: self.tasks.narrow(0, mode, 1)?, time: self.embedding.forward(&flags)? })
    }

    /// `x` [B, C, h, w] and the encoded picture `hint` [1, C, h, w] as one tensor [B, C, h, w].
    pub(super) fn join(&self, x: &Tensor, hint: &Tensor, mode: &Mode) -> candle_core::Result<Tensor> {
        let (batch, width, ..) = x.dims4()?;
        let picture = (means(hint)? + &mode.task)?.broadcast_as((batch, width))?;
        let mut tokens = Tensor::stack(&[picture, means(x)?], 1)?;
        for layer in &self.layers {
            tokens = layer.forward(&tokens)?;
        }
        let shift = self.projection.forward(&tokens.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)?;
        let hint = hint.broadcast_add(&shift.reshape((batch, width, 1, 1))?)?;
        x + hint
    }
}

/// The mean of each channel: [B, C, h, w] gives [B, C]. Summed in float32, as torch does.
fn means(x: &Tensor) -> candle_core::Result<Tensor> {
    x.flatten_from(2)?.to_dtype(DType::F32)?.mean(D::Minus1)?.to_dtype(x.dtype())
}

/// One layer of attention: diffusers' `ResidualAttentionBlock`, with torch's `MultiheadAttention`.
#[derive(Debug)]
struct Layer {
    norm_1: LayerNorm,
    /// Of queries, keys and values, in this order: [C, C] and [C] each.
    inputs: [(Tensor, Tensor); 3],
    output: Linear,
    norm_2: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
}

impl Layer {
    fn new(vars: &Vars, width: usize, heads: usize) -> Result<Self, LoadError> {
        let attention = vars.at("attn");
        let weight = attention.tensor("in_proj_weight", &[3 * width, width])?;
        let bias = attention.tensor("in_proj_bias", &[3 * width])?;
        let input = |i: usize| -> candle_core::Result<(Tensor, Tensor)> {
            let part = |tensor: &Tensor| tensor.narrow(0, i * width, width)?.contiguous();
            Ok((part(&weight)?, part(&bias)?))
        };
        Ok(Self {
            norm_1: LayerNorm::new(&vars.at("ln_1"), width, EPS)?,
            inputs: [input(0)?, input(1)?, input(2)?],
            output: Linear::new(&attention.at("out_proj"), width, width)?,
            norm_2: LayerNorm::new(&vars.at("ln_2"), width, EPS)?,
            up: Linear::new(&vars.at("mlp.c_fc"), width, 4 * width)?,
            down: Linear::new(&vars.at("mlp.c_proj"), 4 * width, width)?,
            heads,
        })
    }

    /// [B, T, C] gives [B, T, C]: each picture's tokens attend to each other.
    ///
    /// diffusers gives torch's `MultiheadAttention` its tokens as the batch and the batch as the tokens
    /// (`batch_first` is false and [B, T, C] is passed), so that pictures of the batch attend to each other and tokens
    /// do not. [`Layer::forward`] does the same.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let normed = self.norm_1.forward(x)?.transpose(0, 1)?.contiguous()?;
        let [q, k, v] = self.inputs.each_ref().map(|(weight, bias)| ops::linear(&normed, weight, Some(bias)));
        let attended = ops::attention(&q?, &k?, &v?, self.heads, Mask::None)?;
        let attended = attended.transpose(0, 1)?.contiguous()?;
        let x = self.output.forward_onto(x, &attended)?;
        let hidden = Activation::QuickGelu.forward(&self.up.forward(&self.norm_2.forward(&x)?)?)?;
        self.down.forward_onto(&x, &hidden)
    }
}
