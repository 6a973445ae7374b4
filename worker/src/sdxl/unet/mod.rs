//! The UNet: diffusers' `UNet2DConditionModel` (`models/unets/unet_2d_condition.py`) with SDXL's `text_time`
//! conditioning on pooled text and picture size (Podell et al. 2023, section 2.2).

mod blocks;
mod config;
mod embeddings;
mod inputs;
#[cfg(feature = "cuda")]
mod recording;
#[cfg(any(feature = "cuda", test))]
mod repeats;
mod residuals;
mod step_embedding;
mod transformer;

pub(super) use blocks::{Conditions, DownBlock, MidBlock};
pub use config::{Level, UnetConfig};
pub(super) use embeddings::{TimestepEmbedding, Timesteps};
pub use inputs::UnetInputs;
pub use residuals::Residuals;
pub(super) use step_embedding::StepEmbedding;

use std::rc::Rc;

use candle_core::{DType, Tensor};

use self::blocks::UpBlock;
use super::error::LoadError;
use super::layers::{Conv2d, GroupNorm};
use super::ops::KeptUploads;
use super::taps::Taps;
use super::weights::WeightFiles;

/// The UNet.
#[derive(Debug)]
pub struct Unet {
    embedding: StepEmbedding,
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    config: UnetConfig,
    #[cfg(feature = "cuda")]
    recordings: Option<recording::Recordings>,
}

impl Unet {
    /// Loads the UNet.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or the device fails.
    pub fn new(files: &Rc<WeightFiles>, config: UnetConfig, dtype: DType) -> Result<Self, LoadError> {
        let root = files.root();
        let c = &config;
        let (first, last) = (&c.levels[0], &c.levels[c.levels.len() - 1]);
        let down_blocks =
            (0..c.levels.len()).map(|i| DownBlock::new(&root, i, c)).collect::<Result<Vec<_>, _>>()?;
        let mut skips = c.skips();
        let mut before = last.channels;
        let mut up_blocks = Vec::with_capacity(c.levels.len());
        for (i, level) in c.levels.iter().rev().enumerate() {
            up_blocks.push(UpBlock::new(&root, i, before, &mut skips, c)?);
            before = level.channels;
        }
        let unet = Self {
            embedding: StepEmbedding::new(&root, c, true, dtype)?,
            conv_in: Conv2d::new(&root.at("conv_in"), c.in_channels, first.channels, c.conv_in_kernel)?,
            down_blocks,
            mid_block: MidBlock::new(&root, last, c)?,
            up_blocks,
            conv_norm_out: c.norm.active(&root.at("conv_norm_out"), first.channels)?,
            conv_out: Conv2d::new(&root.at("conv_out"), first.channels, c.out_channels, c.conv_out_kernel)?,
            config,
            #[cfg(feature = "cuda")]
            recordings: None,
        };
        files.finish(|_| false)?;
        Ok(unet)
    }

    /// Records steps as CUDA graphs and replays them. On other devices it has no effect.
    #[must_use]
    pub fn recorded(self, recorded: bool) -> Self {
        #[cfg(feature = "cuda")]
        return Self { recordings: recorded.then(Default::default), ..self };
        #[cfg(not(feature = "cuda"))]
        {
            let _ = recorded;
            self
        }
    }

    /// The configuration of this UNet.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    /// The prediction: [B, out_channels, h, w].
    ///
    /// # Errors
    /// If the shapes do not match or the device fails.
    pub fn forward(&self, inputs: &UnetInputs) -> candle_core::Result<Tensor> {
        self.forward_with(inputs, None)
    }

    /// [`Unet::forward`] with the residuals of ControlNets.
    ///
    /// # Errors
    /// As [`Unet::forward`].
    pub fn forward_with(
        &self,
        inputs: &UnetInputs,
        residuals: Option<&Residuals>,
    ) -> candle_core::Result<Tensor> {
        let taps = &mut Taps::none();
        let time = self.embedding.forward(inputs, None, taps)?;
        // Not of the embeddings: jobs that take a step together have other timesteps each time, and these would pile up.
        let _kept = KeptUploads::on(inputs.sample.device());
        #[cfg(feature = "cuda")]
        if let Some(recordings) = &self.recordings {
            let mut all = vec![&inputs.sample, &time, &inputs.encoder_hidden_states];
            all.extend(residuals.iter().flat_map(|residuals| residuals.tensors()));
            return recordings.run(&all, |inputs| {
                let given = Conditions { time: inputs[1], text: inputs[2] };
                let residuals = Residuals::of(&inputs[3..]);
                self.denoise(inputs[0], &given, residuals.as_ref(), &mut Taps::none())
            });
        }
        let given = Conditions { time: &time, text: &inputs.encoder_hidden_states };
        self.denoise(&inputs.sample, &given, residuals, taps)
    }

    /// [`Unet::forward`], and passes the output of each module to `taps`.
    ///
    /// # Errors
    /// As [`Unet::forward`].
    pub fn forward_observed(&self, inputs: &UnetInputs, taps: &mut Taps<'_>) -> candle_core::Result<Tensor> {
        let time = self.embedding.forward(inputs, None, taps)?;
        let given = Conditions { time: &time, text: &inputs.encoder_hidden_states };
        self.denoise(&inputs.sample, &given, None, taps)
    }

    /// The part of a call that uploads nothing.
    fn denoise(
        &self,
        sample: &Tensor,
        given: &Conditions<'_>,
        residuals: Option<&Residuals>,
        taps: &mut Taps<'_>,
    ) -> candle_core::Result<Tensor> {
        let mut x = self.conv_in.forward(sample)?;
        taps.see(format_args!("conv_in"), &x);
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, given, &mut skips, taps)?;
        }
        x = self.mid_block.forward(&x, given, taps)?;
        if let Some(residuals) = residuals {
            skips = residuals.onto(skips)?;
            x = (x + &residuals.mid)?;
        }
        for block in &self.up_blocks {
            x = block.forward(x, given, &mut skips, taps)?;
        }
        let y = self.conv_out.forward(&self.conv_norm_out.forward(&x)?)?;
        taps.see(format_args!("out"), &y);
        Ok(y)
    }
}
