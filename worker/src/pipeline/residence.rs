//! Where the text encoders' weights are: on the device, or in host memory between prompts.

use std::cell::Cell;

use candle_core::Device;

use super::error::PipelineError;
use crate::sdxl::Weight;

/// The weights of the text encoders. A job needs them for its prompts alone, so they leave the device first if it has
/// too little memory.
#[derive(Debug)]
pub(super) struct Residence {
    weights: Vec<Weight>,
    device: Device,
    /// Whether they are in host memory between prompts.
    rests: Cell<bool>,
}

impl Residence {
    /// Weights that are on `device`.
    pub(super) fn new(weights: Vec<Weight>, device: Device) -> Self {
        Self { weights, device, rests: Cell::new(false) }
    }

    /// Whether weights that the device does not need now are to be in host memory.
    pub(super) fn rests(&self) -> bool {
        self.rests.get()
    }

    /// Moves the weights to host memory. From now on they are on the device only while the prompts of a job are
    /// encoded. LoRAs change them in host memory.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn rest(&self) -> candle_core::Result<()> {
        // Also before a move that fails half way: a visit copies each weight from where it is.
        self.rests.set(true);
        self.weights.iter().try_for_each(|weight| weight.move_to(&Device::Cpu))
    }

    /// Frees device memory after it has run out. Returns whether there was any to free.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn make_room(&self) -> Result<bool, PipelineError> {
        if self.rests() {
            return Ok(false);
        }
        tracing::warn!(
            "the device has run out of memory: from now on the text encoders are in host memory between prompts, as \
             with --low-memory"
        );
        self.rest()?;
        #[cfg(feature = "cuda")]
        crate::sdxl::ops::release_cuda(&self.device)?;
        Ok(true)
    }

    /// Runs `encode` while the weights are on the device.
    pub(super) fn visited<T>(
        &self,
        encode: impl FnOnce() -> Result<T, PipelineError>,
    ) -> Result<T, PipelineError> {
        if !self.rests() {
            return encode();
        }
        let _visit = Visit(&self.weights);
        self.weights.iter().try_for_each(|weight| weight.visit(&self.device))?;
        encode()
    }
}

/// Ends the visit of all weights when it is dropped, also after an error or a panic.
struct Visit<'a>(&'a [Weight]);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(Weight::leave);
    }
}
