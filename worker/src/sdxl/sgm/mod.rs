//! Checkpoints in one file with the tensor names of Stability's `generative-models` (SGM), as model sites share
//! them. Such a file holds weights alone: configurations and tokenizers come from elsewhere.
//!
//! Each table goes from diffusers' name of a module to SGM's, so that a tensor that is missing is named as it
//! would be in the file. The correspondence is that of diffusers' `loaders/single_file_utils.py`.

mod text;
mod unet;
mod vae;

use std::collections::BTreeMap;

pub use text::{text_encoder, text_encoder_2};
pub use unet::{unet, unet_modules};
pub use vae::vae;

use super::weights::{Naming, Stored, View};

/// Where the autoencoder is in a whole checkpoint; a file of its own has its names at the root.
pub const VAE_PREFIX: &str = "first_stage_model.";

/// diffusers' name of a module, then SGM's.
pub type Modules = BTreeMap<String, String>;

/// The name of what is in a module, or below it, by the longest entry of the table that fits.
pub fn rename(modules: &Modules, name: &str) -> Option<String> {
    let mut module = name;
    loop {
        if let Some(renamed) = modules.get(module) {
            return Some(format!("{renamed}{}", &name[module.len()..]));
        }
        module = &module[..module.rfind('.')?];
    }
}

/// Names by a table; what it does not list keeps its name.
fn by_table(prefix: &str, modules: Modules, view: impl Fn(&str) -> View + 'static) -> Naming {
    Naming::new(prefix, move |name| Stored {
        name: rename(&modules, name).unwrap_or_else(|| name.to_owned()),
        view: view(name),
    })
}
