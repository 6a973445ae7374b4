//! The decoder: latents to pictures.

use candle_core::Tensor;

use super::config::VaeConfig;
use super::mid::UnetMidBlock2D;
use crate::sdxl::error::LoadError;
use crate::sdxl::layers::{Conv2d, GroupNorm};
use crate::sdxl::resnet::{ResnetBlock2D, Upsample2D};
use crate::sdxl::taps::Taps;
use crate::sdxl::weights::Vars;

#[derive(Debug)]
struct UpDecoderBlock2D {
    resnets: Vec<ResnetBlock2D>,
    upsampler: Option<Upsample2D>,
}

#[derive(Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid_block: UnetMidBlock2D,
    up_blocks: Vec<UpDecoderBlock2D>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    pub(super) fn new(vars: &Vars, config: &VaeConfig) -> Result<Self, LoadError> {
        let (first, last) = ends(&config.block_out_channels);
        let mut inputs = last;
        let mut up_blocks = Vec::new();
        for (i, outputs) in config.block_out_channels.iter().copied().rev().enumerate() {
            let vars = vars.at("up_blocks").at(i);
            let resnets = (0..=config.layers_per_block)
                .map(|j| {
                    let inputs = if j == 0 { inputs } else { outputs };
                    ResnetBlock2D::new(&vars.at("resnets").at(j), inputs, outputs, None, config.norm)
                })
                .collect::<Result<_, _>>()?;
            let upsampler = (i + 1 < config.block_out_channels.len())
                .then(|| Upsample2D::new(&vars.at("upsamplers.0"), outputs))
                .transpose()?;
            up_blocks.push(UpDecoderBlock2D { resnets, upsampler });
            inputs = outputs;
        }
        Ok(Self {
            conv_in: Conv2d::new(&vars.at("conv_in"), config.latent_channels, last, 3)?,
            mid_block: UnetMidBlock2D::new(&vars.at("mid_block"), last, config)?,
            up_blocks,
            conv_norm_out: config.norm.active(&vars.at("conv_norm_out"), first)?,
            conv_out: Conv2d::new(&vars.at("conv_out"), first, 3, 3)?,
        })
    }

    pub(super) fn forward(&self, z: &Tensor, taps: &mut Taps<'_>) -> candle_core::Result<Tensor> {
        let x = self.conv_in.forward(z)?;
        taps.see(format_args!("decoder.conv_in"), &x);
        let mut x = self.mid_block.forward(&x, "decoder.mid_block", taps)?;
        for (i, block) in self.up_blocks.iter().enumerate() {
            for resnet in &block.resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(upsampler) = &block.upsampler {
                let (_, _, height, width) = x.dims4()?;
                x = upsampler.forward(&x, 2 * height, 2 * width)?;
            }
            taps.see(format_args!("decoder.up_blocks.{i}"), &x);
        }
        let y = self.conv_out.forward(&self.conv_norm_out.forward(&x)?)?;
        taps.see(format_args!("image"), &y);
        Ok(y)
    }
}

/// The first and the last number of channels. The configuration has at least one.
pub(super) fn ends(channels: &[usize]) -> (usize, usize) {
    match channels {
        [] => (0, 0),
        [only] => (*only, *only),
        [first, .., last] => (*first, *last),
    }
}
