//! The small uploads that candle makes besides the tensors of a job.

use std::{any::Any, marker::PhantomData};

use candle_core::Device;

/// While this lives, candle keeps on the GPU what this thread uploads in pieces of at most 4 KiB: shapes and strides of
/// tensors that are not contiguous, and small tensors. The same bytes are not sent again. So a step with the shapes of
/// an earlier one waits for no copy of pageable memory, and can be captured as a CUDA graph. On other devices it does
/// nothing.
///
/// What is kept is never given back: use it where the same numbers come again, as in the UNet, and not for prompts.
#[must_use = "nothing is kept after it is dropped"]
#[derive(Default)]
pub struct KeptUploads {
    // Of a type of candle's that it does not export.
    _guard: Option<Box<dyn Any>>,
    // Candle counts the guards of each thread.
    _on_one_thread: PhantomData<*const ()>,
}

impl KeptUploads {
    /// Begins on this thread.
    pub fn on(device: &Device) -> Self {
        Self { _guard: guard(device), _on_one_thread: PhantomData }
    }
}

#[cfg(feature = "cuda")]
fn guard(device: &Device) -> Option<Box<dyn Any>> {
    device.as_cuda_device().ok().map(|device| Box::new(device.enable_cuda_graph_htod_cache()) as _)
}

#[cfg(not(feature = "cuda"))]
fn guard(_: &Device) -> Option<Box<dyn Any>> {
    None
}
