//! Work in progress.

pub mod sdxl;
