//! The middle block of encoder and decoder: diffusers' `UNetMidBlock2D`, with one attention that has one head.

use candle_core::Tensor;

use super::config::VaeConfig;
use crate::sdxl::error::LoadError;
use crate::sdxl::layers::{GroupNorm, Linear};
use crate::sdxl::ops::{self, Mask};
use crate::sdxl::resnet::ResnetBlock2D;
use crate::sdxl::taps::Taps;
use crate::sdxl::weights::Vars;

/// Self-attention between all pixels, added to the input.
#[derive(Debug)]
struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl Attention {
    fn new(vars: &Vars, channels: usize, config: &VaeConfig) -> Result<Self, LoadError> {
        let norm = &config.norm;
        Ok(Self {
            group_norm: GroupNorm::new(&vars.at("group_norm"), channels, norm.groups, norm.eps, None)?,
            to_q: Linear::new(&vars.at("to_q"), channels, channels)?,
            to_k: Linear::new(&vars.at("to_k"), channels, channels)?,
            to_v: Linear::new(&vars.at("to_v"), channels, channels)?,
            to_out: Linear::new(&vars.at("to_out.0"), channels, channels)?,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        // [B, C, H, W] -> [B, HW, C]
        let tokens = self.group_norm.forward(x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let (q, k) = (self.to_q.forward(&tokens)?, self.to_k.forward(&tokens)?);
        let v = self.to_v.forward(&tokens)?;
        let y = self.to_out.forward(&ops::attention(&q, &k, &v, 1, Mask::None)?)?;
        x + y.transpose(1, 2)?.contiguous()?.reshape(x.shape())?
    }
}

/// Residual block, attention, residual block.
#[derive(Debug)]
pub(super) struct UnetMidBlock2D {
    first: ResnetBlock2D,
    attention: Option<Attention>,
    last: ResnetBlock2D,
}

impl UnetMidBlock2D {
    pub(super) fn new(vars: &Vars, channels: usize, config: &VaeConfig) -> Result<Self, LoadError> {
        let resnet =
            |i: usize| ResnetBlock2D::new(&vars.at("resnets").at(i), channels, channels, None, config.norm);
        Ok(Self {
            first: resnet(0)?,
            attention: config
                .mid_block_add_attention
                .then(|| Attention::new(&vars.at("attentions.0"), channels, config))
                .transpose()?,
            last: resnet(1)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, name: &str, taps: &mut Taps<'_>) -> candle_core::Result<Tensor> {
        let mut x = self.first.forward(x, None)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(&x)?;
            taps.see(format_args!("{name}.attentions.0"), &x);
        }
        let x = self.last.forward(&x, None)?;
        taps.see(format_args!("{name}"), &x);
        Ok(x)
    }
}
