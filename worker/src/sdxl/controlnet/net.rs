//! A loaded ControlNet.

use std::rc::Rc;

use candle_core::{DType, Tensor};

use super::config::{ControlNetConfig, Middle};
use super::hint::HintEncoder;
use super::union::{Mode, Union};
use crate::sdxl::error::LoadError;
use crate::sdxl::layers::Conv2d;
use crate::sdxl::ops::KeptUploads;
use crate::sdxl::resnet::ResnetBlock2D;
use crate::sdxl::taps::Taps;
use crate::sdxl::unet::{Conditions, DownBlock, MidBlock, Residuals, StepEmbedding, UnetInputs};
use crate::sdxl::weights::WeightFiles;

/// A ControlNet.
#[derive(Debug)]
pub struct ControlNet {
    embedding: StepEmbedding,
    conv_in: Conv2d,
    hint: HintEncoder,
    down_blocks: Vec<DownBlock>,
    mid_block: Mid,
    /// One for each skip tensor.
    skips: Vec<Conv2d>,
    mid: Conv2d,
    in_channels: usize,
    /// What one of several kinds of pictures has besides.
    union: Option<Union>,
}

/// An encoded picture. It is the same in all steps.
#[derive(Debug, Clone)]
pub struct Hint {
    /// [1, C, h, w].
    encoded: Tensor,
    /// Its kind, if the ControlNet has several.
    mode: Option<Mode>,
}

/// The middle block, whole or only its first residual block.
#[derive(Debug)]
enum Mid {
    Whole(Box<MidBlock>),
    Resnet(Box<ResnetBlock2D>),
}

impl ControlNet {
    /// Loads a ControlNet.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or the device fails.
    pub fn new(files: &Rc<WeightFiles>, config: &ControlNetConfig, dtype: DType) -> Result<Self, LoadError> {
        let root = files.root();
        let c = &config.half;
        let (first, last) = (&c.levels[0], &c.levels[c.levels.len() - 1]);
        let zero = |name: &str, channels| Conv2d::new(&root.at(name), channels, channels, 1);
        let mid_block = match config.middle {
            Middle::Whole => Mid::Whole(Box::new(MidBlock::new(&root, last, c)?)),
            Middle::Resnet => {
                let (vars, channels) = (root.at("mid_block.resnets.0"), last.channels);
                let time = Some(c.time_embed_dim);
                Mid::Resnet(Box::new(ResnetBlock2D::new(&vars, channels, channels, time, c.norm)?))
            }
        };
        let skips = c.skips();
        let net = Self {
            embedding: StepEmbedding::new(&root, c, config.added, dtype)?,
            conv_in: Conv2d::new(&root.at("conv_in"), c.in_channels, first.channels, c.conv_in_kernel)?,
            hint: HintEncoder::new(&root.at("controlnet_cond_embedding"), config, first.channels)?,
            down_blocks: (0..c.levels.len())
                .map(|i| DownBlock::new(&root, i, c))
                .collect::<Result<_, _>>()?,
            mid_block,
            skips: skips
                .into_iter()
                .enumerate()
                .map(|(i, channels)| zero(&format!("controlnet_down_blocks.{i}"), channels))
                .collect::<Result<_, _>>()?,
            mid: zero("controlnet_mid_block", last.channels)?,
            in_channels: c.in_channels,
            union: config.union.map(|union| Union::new(&root, config, union, dtype)).transpose()?,
        };
        files.finish(|_| false)?;
        Ok(net)
    }

    /// How many kinds of pictures it knows; `None` if a picture has no kind.
    pub fn modes(&self) -> Option<usize> {
        self.union.as_ref().map(Union::modes)
    }

    /// Encodes the picture: [1, 3, H, W] in 0..1, RGB, of the model's dtype. `mode` is its kind, below
    /// [`ControlNet::modes`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn hint(&self, picture: &Tensor, mode: usize) -> candle_core::Result<Hint> {
        let mode = self.union.as_ref().map(|union| union.mode(mode, picture.device())).transpose()?;
        Ok(Hint { encoded: self.hint.forward(picture)?, mode })
    }

    /// What to add to the tensors of the UNet for the same inputs, times `scale`. `hint` is of [`ControlNet::hint`]. Of
    /// the input's channels only the latents count: those of a UNet that reads a mask too are not passed on.
    ///
    /// # Errors
    /// If the shapes do not match or the device fails.
    pub fn forward(&self, inputs: &UnetInputs, hint: &Hint, scale: f64) -> candle_core::Result<Residuals> {
        let taps = &mut Taps::none();
        let time = self.embedding.forward(inputs, hint.mode.as_ref().map(|mode| &mode.time), taps)?;
        let _kept = KeptUploads::on(inputs.sample.device());
        let given = Conditions { time: &time, text: &inputs.encoder_hidden_states };
        let latents = match inputs.sample.dim(1)? {
            channels if channels > self.in_channels => {
                inputs.sample.narrow(1, 0, self.in_channels)?.contiguous()?
            }
            _ => inputs.sample.clone(),
        };
        let x = self.conv_in.forward(&latents)?;
        let mut x = match (&self.union, &hint.mode) {
            (Some(union), Some(mode)) => union.join(&x, &hint.encoded, mode)?,
            _ => x.broadcast_add(&hint.encoded)?,
        };
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, &given, &mut skips, taps)?;
        }
        let x = match &self.mid_block {
            Mid::Whole(block) => block.forward(&x, &given, taps)?,
            Mid::Resnet(block) => block.forward(&x, Some(given.time))?,
        };
        let scaled = |conv: &Conv2d, x: &Tensor| match scale {
            1.0 => conv.forward(x),
            scale => conv.forward(x)? * scale,
        };
        Ok(Residuals {
            skips: self
                .skips
                .iter()
                .zip(&skips)
                .map(|(conv, skip)| scaled(conv, skip))
                .collect::<candle_core::Result<_>>()?,
            mid: scaled(&self.mid, &x)?,
        })
    }
}
