//! The encoder of a ControlNet's picture: diffusers' `ControlNetConditioningEmbedding`.

use candle_core::Tensor;

use super::config::{ChannelOrder, ControlNetConfig, PICTURE_CHANNELS};
use crate::sdxl::error::LoadError;
use crate::sdxl::layers::Conv2d;
use crate::sdxl::ops::{Activation, Padding};
use crate::sdxl::weights::Vars;

/// Convolutions from a picture to the size of its latents.
#[derive(Debug)]
pub(super) struct HintEncoder {
    order: ChannelOrder,
    /// All but the last, with an activation after each.
    convs: Vec<Conv2d>,
    last: Conv2d,
}

impl HintEncoder {
    /// Loads the convolutions; `channels` are those of the UNet's first level.
    pub(super) fn new(vars: &Vars, config: &ControlNetConfig, channels: usize) -> Result<Self, LoadError> {
        let widths = &config.hint_channels;
        let mut convs = vec![Conv2d::new(&vars.at("conv_in"), PICTURE_CHANNELS, widths[0], 3)?];
        for (i, pair) in widths.windows(2).enumerate() {
            let block = |number: usize| vars.at("blocks").at(2 * i + number);
            convs.push(Conv2d::new(&block(0), pair[0], pair[0], 3)?);
            convs.push(Conv2d::new(&block(1), pair[0], pair[1], 3)?.strided(2, Padding::even(1)));
        }
        let last = Conv2d::new(&vars.at("conv_out"), widths[widths.len() - 1], channels, 3)?;
        Ok(Self { order: config.order, convs, last })
    }

    /// [B, 3, H, W], RGB, gives [B, channels, h, w].
    pub(super) fn forward(&self, picture: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = match self.order {
            ChannelOrder::Rgb => picture.clone(),
            ChannelOrder::Bgr => {
                let channel = |index| picture.narrow(1, index, 1);
                Tensor::cat(&[channel(2)?, channel(1)?, channel(0)?], 1)?
            }
        };
        for conv in &self.convs {
            x = Activation::Silu.forward(&conv.forward(&x)?)?;
        }
        self.last.forward(&x)
    }
}
