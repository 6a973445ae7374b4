//! The blocks of the UNet: diffusers' `CrossAttnDownBlock2D`, `UNetMidBlock2DCrossAttn`, `CrossAttnUpBlock2D`,
//! `DownBlock2D` and `UpBlock2D` (`models/unets/unet_2d_blocks.py`).

use candle_core::Tensor;

use super::config::{Level, UnetConfig};
use super::transformer::{Transformer2DModel, TransformerConfig};
use crate::sdxl::error::LoadError;
use crate::sdxl::layers::Conv2d;
use crate::sdxl::ops::Padding;
use crate::sdxl::resnet::{ResnetBlock2D, Upsample2D, downsampler};
use crate::sdxl::taps::Taps;
use crate::sdxl::weights::Vars;

/// The common inputs of all blocks.
#[derive(Debug)]
pub(in crate::sdxl) struct Conditions<'a> {
    /// The time embedding after its activation: [B, E].
    pub(in crate::sdxl) time: &'a Tensor,
    /// The text embeddings: [B, T, D].
    pub(in crate::sdxl) text: &'a Tensor,
}

/// A residual block, and the transformer after it if the level has attention.
#[derive(Debug)]
struct Layer {
    resnet: ResnetBlock2D,
    attention: Option<Transformer2DModel>,
}

impl Layer {
    fn new(
        vars: &Vars,
        index: usize,
        inputs: usize,
        level: &Level,
        transformers: Option<usize>,
        config: &UnetConfig,
    ) -> Result<Self, LoadError> {
        let resnet = vars.at("resnets").at(index);
        let attention = vars.at("attentions").at(index);
        Ok(Self {
            resnet: ResnetBlock2D::new(
                &resnet,
                inputs,
                level.channels,
                Some(config.time_embed_dim),
                config.norm,
            )?,
            attention: transformers
                .map(|blocks| Transformer2DModel::new(&attention, transformer(level, blocks, config)))
                .transpose()?,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        given: &Conditions<'_>,
        name: &str,
        index: usize,
        taps: &mut Taps<'_>,
    ) -> candle_core::Result<Tensor> {
        let x = self.resnet.forward(x, Some(given.time))?;
        taps.see(format_args!("{name}.resnets.{index}"), &x);
        let Some(attention) = &self.attention else { return Ok(x) };
        let x = attention.forward(&x, given.text)?;
        taps.see(format_args!("{name}.attentions.{index}"), &x);
        Ok(x)
    }
}

fn transformer(level: &Level, layers: usize, config: &UnetConfig) -> TransformerConfig {
    TransformerConfig {
        channels: level.channels,
        heads: level.heads,
        layers,
        cross_attention_dim: config.cross_attention_dim,
        norm_groups: config.norm.groups,
        use_linear_projection: config.use_linear_projection,
    }
}

/// A down block.
#[derive(Debug)]
pub(in crate::sdxl) struct DownBlock {
    name: String,
    layers: Vec<Layer>,
    downsampler: Option<Conv2d>,
}

impl DownBlock {
    pub(in crate::sdxl) fn new(root: &Vars, index: usize, config: &UnetConfig) -> Result<Self, LoadError> {
        let vars = root.at("down_blocks").at(index);
        let level = &config.levels[index];
        let before = config.levels[index.saturating_sub(1)].channels;
        let layers = (0..level.layers)
            .map(|i| {
                let inputs = if i == 0 { before } else { level.channels };
                Layer::new(&vars, i, inputs, level, level.down_transformers, config)
            })
            .collect::<Result<_, _>>()?;
        let last = index + 1 == config.levels.len();
        let downsampler = (!last)
            .then(|| downsampler(&vars.at("downsamplers.0"), level.channels, Padding::even(1)))
            .transpose()?;
        Ok(Self { name: format!("down_blocks.{index}"), layers, downsampler })
    }

    /// Pushes the skip tensors for the up blocks onto `skips`.
    pub(in crate::sdxl) fn forward(
        &self,
        x: Tensor,
        given: &Conditions<'_>,
        skips: &mut Vec<Tensor>,
        taps: &mut Taps<'_>,
    ) -> candle_core::Result<Tensor> {
        let mut x = x;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, given, &self.name, i, taps)?;
            skips.push(x.clone());
        }
        if let Some(downsampler) = &self.downsampler {
            x = downsampler.forward(&x)?;
            taps.see(format_args!("{}.downsamplers.0", self.name), &x);
            skips.push(x.clone());
        }
        taps.see(format_args!("{}", self.name), &x);
        Ok(x)
    }
}

/// The middle block: residual block, transformer, residual block.
#[derive(Debug)]
pub(in crate::sdxl) struct MidBlock {
    first: Layer,
    last: ResnetBlock2D,
}

impl MidBlock {
    pub(in crate::sdxl) fn new(root: &Vars, level: &Level, config: &UnetConfig) -> Result<Self, LoadError> {
        let vars = root.at("mid_block");
        let (channels, time) = (level.channels, Some(config.time_embed_dim));
        Ok(Self {
            first: Layer::new(&vars, 0, channels, level, Some(config.mid_transformers), config)?,
            last: ResnetBlock2D::new(&vars.at("resnets.1"), channels, channels, time, config.norm)?,
        })
    }

    pub(in crate::sdxl) fn forward(
        &self,
        x: &Tensor,
        given: &Conditions<'_>,
        taps: &mut Taps<'_>,
    ) -> candle_core::Result<Tensor> {
        let x = self.first.forward(x, given, "mid_block", 0, taps)?;
        let x = self.last.forward(&x, Some(given.time))?;
        taps.see(format_args!("mid_block.resnets.1"), &x);
        taps.see(format_args!("mid_block"), &x);
        Ok(x)
    }
}

/// An up block.
#[derive(Debug)]
pub(super) struct UpBlock {
    name: String,
    layers: Vec<Layer>,
    upsampler: Option<Upsample2D>,
}

impl UpBlock {
    /// Loads a block. `index` counts from the smallest picture, as in the tensor names. `skips` has the channels of the
    /// remaining skip tensors; those of this block are popped.
    pub(super) fn new(
        root: &Vars,
        index: usize,
        before: usize,
        skips: &mut Vec<usize>,
        config: &UnetConfig,
    ) -> Result<Self, LoadError> {
        let vars = root.at("up_blocks").at(index);
        let depth = config.levels.len() - 1 - index;
        let level = &config.levels[depth];
        let mut layers = Vec::with_capacity(level.layers + 1);
        for i in 0..=level.layers {
            let inputs = if i == 0 { before } else { level.channels } + skips.pop().unwrap_or(0);
            layers.push(Layer::new(&vars, i, inputs, level, level.up_transformers, config)?);
        }
        let upsampler =
            (depth > 0).then(|| Upsample2D::new(&vars.at("upsamplers.0"), level.channels)).transpose()?;
        Ok(Self { name: format!("up_blocks.{index}"), layers, upsampler })
    }

    /// Pops the skip tensors of this block from `skips`.
    pub(super) fn forward(
        &self,
        x: Tensor,
        given: &Conditions<'_>,
        skips: &mut Vec<Tensor>,
        taps: &mut Taps<'_>,
    ) -> candle_core::Result<Tensor> {
        let mut x = x;
        for (i, layer) in self.layers.iter().enumerate() {
            let Some(skip) = skips.pop() else { candle_core::bail!("{}: no skip tensor is left", self.name) };
            x = layer.forward(&Tensor::cat(&[&x, &skip], 1)?, given, &self.name, i, taps)?;
        }
        if let (Some(upsampler), Some(next)) = (&self.upsampler, skips.last()) {
            let (_, _, height, width) = next.dims4()?;
            x = upsampler.forward(&x, height, width)?;
            taps.see(format_args!("{}.upsamplers.0", self.name), &x);
        }
        taps.see(format_args!("{}", self.name), &x);
        Ok(x)
    }
}
