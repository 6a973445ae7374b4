//! The UNet: diffusers' `UNet2DConditionModel` (`models/unets/unet_2d_condition.py`) with SDXL's `text_time`
//! conditioning on pooled text and picture size (Podell et al. 2023, section 2.2).

mod blocks;
mod config;
mod embeddings;
#[cfg(feature = "cuda")]
mod recording;
#[cfg(any(feature = "cuda", test))]
mod repeats;
mod transformer;

pub use config::{Level, UnetConfig};

use std::rc::Rc;

use candle_core::{DType, Tensor};

use self::blocks::{Conditions, DownBlock, MidBlock, UpBlock};
use self::embeddings::{TimestepEmbedding, Timesteps};
use super::error::LoadError;
use super::layers::{Conv2d, GroupNorm};
use super::ops::KeptUploads;
use super::taps::Taps;
use super::weights::WeightFiles;

/// The inputs of one call, for B pictures. Tensors have the UNet's dtype and device.
#[derive(Debug, Clone)]
pub struct UnetInputs {
    /// Latents, times the sampler's input scale: [B, C, h, w].
    pub sample: Tensor,
    /// B timesteps. The pictures of one call may have different timesteps.
    pub timesteps: Vec<f32>,
    /// Text embeddings of both encoders, concatenated: [B, T, D].
    pub encoder_hidden_states: Tensor,
    /// Pooled text embedding of the second encoder: [B, P].
    pub text_embeds: Tensor,
    /// Original size, top left corner of the crop, and target size, in pixels, height first: B rows of six numbers. A
    /// refiner has an aesthetic score in place of the target size: five numbers.
    pub time_ids: Vec<Vec<f32>>,
}

/// The UNet.
#[derive(Debug)]
pub struct Unet {
    time_proj: Timesteps,
    time_embedding: TimestepEmbedding,
    add_time_proj: Timesteps,
    add_embedding: TimestepEmbedding,
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    config: UnetConfig,
    dtype: DType,
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
        let proj = |width| Timesteps::new(width, c.flip_sin_to_cos, c.freq_shift);
        let embedding = |name: &str, inputs| {
            TimestepEmbedding::new(&root.at(name), inputs, c.time_embed_dim, c.norm.activation)
        };
        let down_blocks =
            (0..c.levels.len()).map(|i| DownBlock::new(&root, i, c)).collect::<Result<Vec<_>, _>>()?;
        // Channels of the skip tensors, in order.
        let mut skips = vec![first.channels];
        for (i, level) in c.levels.iter().enumerate() {
            let downsampled = usize::from(i + 1 < c.levels.len());
            skips.extend(std::iter::repeat_n(level.channels, level.layers + downsampled));
        }
        let mut before = last.channels;
        let mut up_blocks = Vec::with_capacity(c.levels.len());
        for (i, level) in c.levels.iter().rev().enumerate() {
            up_blocks.push(UpBlock::new(&root, i, before, &mut skips, c)?);
            before = level.channels;
        }
        let unet = Self {
            time_proj: proj(first.channels),
            time_embedding: embedding("time_embedding", first.channels)?,
            add_time_proj: proj(c.addition_time_embed_dim),
            add_embedding: embedding("add_embedding", c.projection_class_embeddings_input_dim)?,
            conv_in: Conv2d::new(&root.at("conv_in"), c.in_channels, first.channels, c.conv_in_kernel)?,
            down_blocks,
            mid_block: MidBlock::new(&root, last, c)?,
            up_blocks,
            conv_norm_out: c.norm.active(&root.at("conv_norm_out"), first.channels)?,
            conv_out: Conv2d::new(&root.at("conv_out"), first.channels, c.out_channels, c.conv_out_kernel)?,
            dtype,
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
        let taps = &mut Taps::none();
        let time = self.embed(inputs, taps)?;
        // Not of the embeddings: jobs that take a step together have other timesteps each time, and these would pile up.
        let _kept = KeptUploads::on(inputs.sample.device());
        #[cfg(feature = "cuda")]
        if let Some(recordings) = &self.recordings {
            return recordings.run(&[&inputs.sample, &time, &inputs.encoder_hidden_states], |inputs| {
                self.denoise(inputs[0], &Conditions { time: inputs[1], text: inputs[2] }, &mut Taps::none())
            });
        }
        let given = Conditions { time: &time, text: &inputs.encoder_hidden_states };
        self.denoise(&inputs.sample, &given, taps)
    }

    /// [`Unet::forward`], and passes the output of each module to `taps`.
    ///
    /// # Errors
    /// As [`Unet::forward`].
    pub fn forward_observed(&self, inputs: &UnetInputs, taps: &mut Taps<'_>) -> candle_core::Result<Tensor> {
        let time = self.embed(inputs, taps)?;
        let given = Conditions { time: &time, text: &inputs.encoder_hidden_states };
        self.denoise(&inputs.sample, &given, taps)
    }

    /// The part of a call that uploads nothing.
    fn denoise(
        &self,
        sample: &Tensor,
        given: &Conditions<'_>,
        taps: &mut Taps<'_>,
    ) -> candle_core::Result<Tensor> {
        let mut x = self.conv_in.forward(sample)?;
        taps.see(format_args!("conv_in"), &x);
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, given, &mut skips, taps)?;
        }
        x = self.mid_block.forward(&x, given, taps)?;
        for block in &self.up_blocks {
            x = block.forward(x, given, &mut skips, taps)?;
        }
        let y = self.conv_out.forward(&self.conv_norm_out.forward(&x)?)?;
        taps.see(format_args!("out"), &y);
        Ok(y)
    }

    /// The embedding of timestep, sizes and pooled text, after its activation: [B, E].
    fn embed(&self, inputs: &UnetInputs, taps: &mut Taps<'_>) -> candle_core::Result<Tensor> {
        let device = inputs.sample.device();
        let batch = inputs.sample.dim(0)?;
        let time = self.time_proj.forward(&inputs.timesteps, self.dtype, device)?;
        taps.see(format_args!("time_proj"), &time);
        let time = self.time_embedding.forward(&time)?;
        taps.see(format_args!("time_embedding"), &time);
        // Each of the N numbers is embedded separately: [N B, A] -> [B, N A].
        let ids = self.add_time_proj.forward(&inputs.time_ids.concat(), self.dtype, device)?;
        taps.see(format_args!("add_time_proj"), &ids);
        let ids = ids.reshape((batch, ()))?;
        let added = self.add_embedding.forward(&Tensor::cat(&[&inputs.text_embeds, &ids], 1)?)?;
        taps.see(format_args!("add_embedding"), &added);
        self.config.norm.activation.forward(&(time + added)?)
    }
}
