//! The residual block and the resamplers of the UNet and the autoencoder: diffusers' `ResnetBlock2D`
//! (`models/resnet.py`), `Downsample2D` and `Upsample2D`.

use candle_core::Tensor;

use super::error::LoadError;
use super::layers::{Conv2d, GroupNorm, Linear};
use super::ops::{Activation, Padding};
use super::weights::Vars;

/// The common settings of a model's group norms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormConfig {
    /// Number of groups.
    pub groups: usize,
    /// Epsilon of the norms.
    pub eps: f64,
    /// The activation after each norm.
    pub activation: Activation,
}

impl NormConfig {
    /// Loads a norm with the activation after it.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn active(&self, vars: &Vars, channels: usize) -> Result<GroupNorm, LoadError> {
        GroupNorm::new(vars, channels, self.groups, self.eps, Some(self.activation))
    }
}

/// x + conv(act(norm(conv(act(norm(x))) + time))), with a 1x1 convolution on the shortcut if the number of channels
/// changes.
#[derive(Debug)]
pub(crate) struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock2D {
    /// Loads a block. `time` is the width of the time embedding; `None` in the autoencoder.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(
        vars: &Vars,
        inputs: usize,
        outputs: usize,
        time: Option<usize>,
        norm: NormConfig,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            norm1: norm.active(&vars.at("norm1"), inputs)?,
            conv1: Conv2d::new(&vars.at("conv1"), inputs, outputs, 3)?,
            time_emb_proj: time
                .map(|width| Linear::new(&vars.at("time_emb_proj"), width, outputs))
                .transpose()?,
            norm2: norm.active(&vars.at("norm2"), outputs)?,
            conv2: Conv2d::new(&vars.at("conv2"), outputs, outputs, 3)?,
            conv_shortcut: (inputs != outputs)
                .then(|| Conv2d::new(&vars.at("conv_shortcut"), inputs, outputs, 1))
                .transpose()?,
        })
    }

    /// `x` [B, inputs, H, W] and `time` [B, width] give [B, outputs, H, W]. The activation of `time` is already
    /// applied, because it is the same for all blocks.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let shift = match (&self.time_emb_proj, time) {
            (Some(projection), Some(time)) => Some(projection.forward(time)?),
            _ => None,
        };
        let h = self.conv1.forward_plus(&self.norm1.forward(x)?, shift.as_ref(), None)?;
        let h = self.norm2.forward(&h)?;
        match &self.conv_shortcut {
            Some(conv) => self.conv2.forward_plus(&h, None, Some(&conv.forward(x)?)),
            None => self.conv2.forward_plus(&h, None, Some(x)),
        }
    }
}

/// Loads a stride-2 convolution that halves height and width. It rounds up if `padding` is even.
///
/// # Errors
/// If the device fails.
pub(crate) fn downsampler(vars: &Vars, channels: usize, padding: Padding) -> Result<Conv2d, LoadError> {
    Ok(Conv2d::new(&vars.at("conv"), channels, channels, 3)?.strided(2, padding))
}

/// Nearest-neighbour upsampling and a 3x3 convolution.
#[derive(Debug)]
pub(crate) struct Upsample2D(Conv2d);

impl Upsample2D {
    /// Loads the convolution.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(vars: &Vars, channels: usize) -> Result<Self, LoadError> {
        Ok(Self(Conv2d::new(&vars.at("conv"), channels, channels, 3)?))
    }

    /// `x` [B, C, H, W] gives [B, C, height, width]. In the UNet this is the size of the next skip tensor: twice the
    /// input's, or one less if the downsampling rounded up.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(&self, x: &Tensor, height: usize, width: usize) -> candle_core::Result<Tensor> {
        self.0.forward(&x.upsample_nearest2d(height, width)?)
    }
}
