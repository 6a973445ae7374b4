//! Work in progress.

pub mod noise;
pub mod pipeline;
pub mod schedulers;
pub mod sdxl;
