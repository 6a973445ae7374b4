//! What a UNet is given in one call.

use candle_core::Tensor;

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
