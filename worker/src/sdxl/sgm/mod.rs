//! Checkpoints in one file with the tensor names of Stability's `generative-models` (SGM), as model sites share
//! them. Such a file holds weights alone: configurations and tokenizers come from elsewhere.
//!
//! Each table goes from diffusers' name of a module to SGM's, so that a tensor that is missing is named as it
//! would be in the file. The correspondence is that of diffusers' `loaders/single_file_utils.py`.

mod names;
mod text;
mod unet;
mod vae;

pub use names::{Modules, rename};
pub use text::{text_encoder, text_encoder_2};
pub use unet::{unet, unet_modules};
pub use vae::vae;

/// Where the autoencoder is in a whole checkpoint; a file of its own has its names at the root.
pub const VAE_PREFIX: &str = "first_stage_model.";
