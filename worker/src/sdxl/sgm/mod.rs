//! Single-file checkpoints with the tensor names of Stability's `generative-models` (SGM). Such a file has only
//! weights, no configurations and no tokenizers.
//!
//! Each table maps diffusers' name of a module to SGM's name, so that an error has the tensor's name in the file. The
//! tables are those of diffusers' `loaders/single_file_utils.py`.

mod controlnet;
mod names;
mod text;
mod unet;
mod vae;

pub use controlnet::controlnet;
pub use names::{Modules, rename};
pub use text::{text_encoder, text_encoder_2};
pub use unet::{CONV_IN, unet, unet_modules};
pub use vae::vae;

/// The prefix of the autoencoder in a checkpoint. In a file of its own it has no prefix.
pub const VAE_PREFIX: &str = "first_stage_model.";
