//! Reads fixtures.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};

pub(crate) type Tensors = HashMap<String, Tensor>;

/// All tensors of a fixture file.
pub(crate) fn load(path: impl AsRef<Path>) -> Tensors {
    let path = path.as_ref();
    candle_core::safetensors::load(path, &Device::Cpu).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
