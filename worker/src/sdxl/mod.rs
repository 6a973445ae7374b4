//! SDXL from a checkpoint's files, number by number what diffusers computes.
//!
//! Nothing about a checkpoint is assumed: widths, depths, heads, activations, norms, token padding and
//! scaling come from its JSON files, and a setting that is not implemented is refused when it is loaded.
//! What a picture is made *from* (prompts, seeds, samplers) is the business of [`crate::pipeline`].

pub mod clip;
mod config_files;
mod error;
mod layers;
pub mod lora;
pub mod ops;
mod resnet;
mod settings;
pub mod sgm;
pub mod taesd;
mod taps;
pub mod tokenizer;
pub mod unet;
pub mod vae;
mod weights;

pub use config_files::ConfigFiles;
pub use error::{LoadError, WeightReport};
pub use resnet::NormConfig;
pub use settings::{Settings, quote_non_finite};
pub use taps::Taps;
pub use weights::{Naming, Precision, ReadError, Shards, Stored, Vars, View, Weight, WeightFiles};
