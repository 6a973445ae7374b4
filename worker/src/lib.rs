//! Work in progress.

pub mod noise;
pub mod schedulers;
pub mod sdxl;
