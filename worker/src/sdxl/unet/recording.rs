//! The UNet's step as a CUDA graph: recorded once, then replayed with one launch while the shapes and weights stay the
//! same. A recording is used only if its first replay gives what the same step gave without it, up to rounding. What
//! candle uploads for a step must stay uploaded ([`crate::sdxl::ops::KeptUploads`]): a recording refers to it.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaGraph, CudaStream, sys};
use candle_core::{CudaDevice, DType, Device, Result, Shape, Tensor, bail};

use super::repeats::{Next, Repeats};
use crate::sdxl::ops::{FiniteWatch, release_cuda_graphs};
use crate::sdxl::weights::Weight;

/// What a recording is for: the inputs' shapes, and the weights, whose addresses are in it.
type Key = (Vec<Shape>, u64);

/// The newest recording of one UNet.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    repeats: RefCell<Repeats<Key>>,
    newest: RefCell<Option<Recording>>,
}

/// A recorded step with the buffers that it reads and writes.
struct Recording {
    graph: CudaGraph,
    inputs: Vec<Tensor>,
    output: Tensor,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").field("output", &self.output).finish_non_exhaustive()
    }
}

impl Recordings {
    /// `body` of `inputs`, replayed if it can be. `body` must depend on nothing but the inputs and the weights, and may
    /// not wait for the device.
    ///
    /// # Errors
    /// As `body`, or if the device fails.
    pub(super) fn run(
        &self,
        inputs: &[&Tensor],
        body: impl Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let Device::Cuda(device) = inputs[0].device() else { return body(inputs) };
        let key = (inputs.iter().map(|input| input.shape().clone()).collect(), Weight::changes());
        let next = self.repeats.borrow_mut().next(key);
        if next == Next::Again {
            let replayed = self.newest.borrow().as_ref().map(|recording| recording.replay(inputs));
            if let Some(Err(_)) = replayed {
                // Its memory may be what is missing: the next run does without it.
                self.forget(device);
            }
            return replayed.unwrap_or_else(|| body(inputs));
        }
        // Another shape or other weights: the recording's memory may be needed, and its weights may be gone.
        self.forget(device);
        match next {
            Next::Record => self.record(device, inputs, body),
            Next::Run | Next::Again => body(inputs),
        }
    }

    fn forget(&self, device: &CudaDevice) {
        if self.newest.take().is_some() {
            release_cuda_graphs(device);
        }
    }

    /// Runs `body` once, records it, and keeps the recording if it gives the same.
    fn record(
        &self,
        device: &CudaDevice,
        inputs: &[&Tensor],
        body: impl Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let expected = body(inputs)?;
        let recorded = Recording::new(device, inputs, &expected, body).and_then(|recording| {
            let replayed = recording.replay(inputs)?;
            match agree(&replayed, &expected)? {
                true => Ok(recording),
                false => bail!("its first replay gives other numbers than the step that was recorded"),
            }
        });
        match recorded {
            Ok(recording) => *self.newest.borrow_mut() = Some(recording),
            Err(error) => {
                self.repeats.borrow_mut().give_up();
                release_cuda_graphs(device);
                tracing::warn!("--cuda-graph has no effect: a step could not be recorded: {error}");
            }
        }
        Ok(expected)
    }
}

impl Recording {
    fn new(
        device: &CudaDevice,
        inputs: &[&Tensor],
        expected: &Tensor,
        body: impl Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Self> {
        // Also an input that is a part of a tensor, or whose numbers do not lie side by side.
        let inputs = inputs.iter().map(|input| input.force_contiguous()).collect::<Result<Vec<_>>>()?;
        let output = expected.zeros_like()?;
        let capture = Capture::begin(device.cuda_stream())?;
        // All memory that the step takes is given back inside the recording, so it can be replayed any number of times.
        let body = body(&inputs.iter().collect::<Vec<_>>()).and_then(|y| output.slice_set(&y, 0, 0));
        // Before an error of the body is returned.
        let graph = capture.end();
        body?;
        match graph? {
            Some(graph) => Ok(Self { graph, inputs, output }),
            None => bail!("the driver recorded nothing"),
        }
    }

    fn replay(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        for (own, input) in self.inputs.iter().zip(inputs) {
            own.slice_set(&input.contiguous()?, 0, 0)?;
        }
        self.graph.launch().map_err(candle_core::Error::wrap)?;
        // The next replay overwrites the buffer.
        self.output.copy()
    }
}

/// A stream that records what it is given. It is ended in any case, also by a panic: a stream that still records runs
/// nothing.
struct Capture(Option<Arc<CudaStream>>);

impl Capture {
    fn begin(stream: Arc<CudaStream>) -> Result<Self> {
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.begin_capture(mode).map_err(candle_core::Error::wrap)?;
        Ok(Self(Some(stream)))
    }

    /// The recording; `None` if the driver recorded nothing.
    fn end(mut self) -> Result<Option<CudaGraph>> {
        self.0.take().map_or(Ok(None), |stream| end_capture(&stream))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            // The panic tells more.
            let _ = end_capture(&stream);
        }
    }
}

fn end_capture(stream: &Arc<CudaStream>) -> Result<Option<CudaGraph>> {
    let context = stream.context();
    // After a call that cannot be recorded, the step's memory cannot be given back either. cudarc keeps such an error for
    // its next call, which would fail with it: here, without ending the capture, or later, in a step that has no fault.
    let _ = context.check_err();
    let flags = sys::CUgraphInstantiate_flags_enum::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).map_err(candle_core::Error::wrap);
    let _ = context.check_err();
    graph
}

/// Whether both are finite and differ by no more than rounding does.
fn agree(replayed: &Tensor, expected: &Tensor) -> Result<bool> {
    let (replayed, expected) = (replayed.to_dtype(DType::F32)?, expected.to_dtype(DType::F32)?);
    let difference = (&replayed - &expected)?.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
    let size = expected.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
    Ok(FiniteWatch::default().see(&replayed)?.is_finite()? && difference <= 1e-3 * size)
}
