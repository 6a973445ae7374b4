//! The embedding of a step: its timestep, and with it the pooled text and the sizes. The UNet and ControlNets have one
//! each.

use candle_core::{DType, Tensor};

use super::config::UnetConfig;
use super::embeddings::{TimestepEmbedding, Timesteps};
use super::inputs::UnetInputs;
use crate::sdxl::error::LoadError;
use crate::sdxl::ops::Activation;
use crate::sdxl::taps::Taps;
use crate::sdxl::weights::Vars;

/// `time_embedding` and `add_embedding` of a model.
#[derive(Debug)]
pub(in crate::sdxl) struct StepEmbedding {
    time_proj: Timesteps,
    time_embedding: TimestepEmbedding,
    added: Option<Added>,
    activation: Activation,
    dtype: DType,
}

/// The embedding of text and sizes.
#[derive(Debug)]
struct Added {
    proj: Timesteps,
    embedding: TimestepEmbedding,
}

impl StepEmbedding {
    /// Loads the embedding; `added` says whether it has text and sizes.
    ///
    /// # Errors
    /// If the device fails.
    pub(in crate::sdxl) fn new(
        root: &Vars,
        config: &UnetConfig,
        added: bool,
        dtype: DType,
    ) -> Result<Self, LoadError> {
        let c = config;
        let proj = |width| Timesteps::new(width, c.flip_sin_to_cos, c.freq_shift);
        let embedding = |name: &str, inputs| {
            TimestepEmbedding::new(&root.at(name), inputs, c.time_embed_dim, c.norm.activation)
        };
        let first = c.levels[0].channels;
        let text_and_sizes = || -> Result<Added, LoadError> {
            Ok(Added {
                proj: proj(c.addition_time_embed_dim),
                embedding: embedding("add_embedding", c.projection_class_embeddings_input_dim)?,
            })
        };
        Ok(Self {
            time_proj: proj(first),
            time_embedding: embedding("time_embedding", first)?,
            added: added.then(text_and_sizes).transpose()?,
            activation: c.norm.activation,
            dtype,
        })
    }

    /// The embedding of timestep, sizes and pooled text, after its activation: [B, E]. `more` [1, E] is added to it first.
    ///
    /// # Errors
    /// If the device fails.
    pub(in crate::sdxl) fn forward(
        &self,
        inputs: &UnetInputs,
        more: Option<&Tensor>,
        taps: &mut Taps<'_>,
    ) -> candle_core::Result<Tensor> {
        let device = inputs.sample.device();
        let batch = inputs.sample.dim(0)?;
        let time = self.time_proj.forward(&inputs.timesteps, self.dtype, device)?;
        taps.see(format_args!("time_proj"), &time);
        let time = self.time_embedding.forward(&time)?;
        taps.see(format_args!("time_embedding"), &time);
        let time = match more {
            Some(more) => time.broadcast_add(more)?,
            None => time,
        };
        let Some(Added { proj, embedding }) = &self.added else { return self.activation.forward(&time) };
        // Each of the N numbers is embedded separately: [N B, A] -> [B, N A].
        let ids = proj.forward(&inputs.time_ids.concat(), self.dtype, device)?;
        taps.see(format_args!("add_time_proj"), &ids);
        let ids = ids.reshape((batch, ()))?;
        let added = embedding.forward(&Tensor::cat(&[&inputs.text_embeds, &ids], 1)?)?;
        taps.see(format_args!("add_embedding"), &added);
        self.activation.forward(&(time + added)?)
    }
}
