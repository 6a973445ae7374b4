//! Work in progress.

pub mod noise;
pub mod sdxl;
