//! The SDXL models. They compute the numbers that diffusers computes.
//!
//! Widths, depths, heads, activations, norms, token padding and scaling come from the checkpoint's JSON files. A
//! setting that is not implemented is refused at the load. [`crate::pipeline`] handles prompts, seeds and samplers.

pub mod clip;
mod config_files;
pub mod controlnet;
pub mod embedding;
mod error;
mod foreign;
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
pub use foreign::not_a_file;
pub use resnet::NormConfig;
pub use settings::{Settings, quote_non_finite};
pub use taps::Taps;
pub use weights::{
    ModuleWeights, Naming, Precision, ReadError, Shards, Stored, Vars, View, Weight, WeightFiles,
};
