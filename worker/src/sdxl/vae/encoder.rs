//! The encoder: pictures to the distribution of their latents.

use candle_core::Tensor;

use super::config::VaeConfig;
use super::decoder::ends;
use super::mid::UnetMidBlock2D;
use crate::sdxl::error::LoadError;
use crate::sdxl::layers::{Conv2d, GroupNorm};
use crate::sdxl::ops::Padding;
use crate::sdxl::resnet::{ResnetBlock2D, downsampler};
use crate::sdxl::taps::Taps;
use crate::sdxl::weights::Vars;

#[derive(Debug)]
struct DownEncoderBlock2D {
    resnets: Vec<ResnetBlock2D>,
    downsampler: Option<Conv2d>,
}

#[derive(Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownEncoderBlock2D>,
    mid_block: UnetMidBlock2D,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    pub(super) fn new(vars: &Vars, config: &VaeConfig) -> Result<Self, LoadError> {
        let (first, last) = ends(&config.block_out_channels);
        let mut inputs = first;
        let mut down_blocks = Vec::new();
        for (i, outputs) in config.block_out_channels.iter().copied().enumerate() {
            let vars = vars.at("down_blocks").at(i);
            let resnets = (0..config.layers_per_block)
                .map(|j| {
                    let inputs = if j == 0 { inputs } else { outputs };
                    ResnetBlock2D::new(&vars.at("resnets").at(j), inputs, outputs, None, config.norm)
                })
                .collect::<Result<_, _>>()?;
            // The encoder pads only right and bottom, unlike the UNet.
            let padding = Padding { before: 0, after: 1 };
            let downsampler = (i + 1 < config.block_out_channels.len())
                .then(|| downsampler(&vars.at("downsamplers.0"), outputs, padding))
                .transpose()?;
            down_blocks.push(DownEncoderBlock2D { resnets, downsampler });
            inputs = outputs;
        }
        Ok(Self {
            conv_in: Conv2d::new(&vars.at("conv_in"), 3, first, 3)?,
            down_blocks,
            mid_block: UnetMidBlock2D::new(&vars.at("mid_block"), last, config)?,
            conv_norm_out: config.norm.active(&vars.at("conv_norm_out"), last)?,
            // Mean and log variance.
            conv_out: Conv2d::new(&vars.at("conv_out"), last, 2 * config.latent_channels, 3)?,
        })
    }

    pub(super) fn forward(&self, pictures: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = self.conv_in.forward(pictures)?;
        for block in &self.down_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(downsampler) = &block.downsampler {
                x = downsampler.forward(&x)?;
            }
        }
        let x = self.mid_block.forward(&x, "encoder.mid_block", &mut Taps::none())?;
        self.conv_out.forward(&self.conv_norm_out.forward(&x)?)
    }
}
