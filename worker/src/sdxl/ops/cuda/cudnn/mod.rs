//! cuDNN's forward convolution, called directly: candle's call sums f16 in f16, and each time describes the tensors and
//! asks for an algorithm.

mod plan;
mod sizes;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtrMut, sys::CUresult};
use candle_core::cuda_backend::{CudaDevice, DeviceId, WrapErr};
use candle_core::{Error, Result};

use self::plan::Plan;
pub(super) use self::sizes::Sizes;
use super::tensors::Address;

/// Most plans that are kept, of about a kilobyte each; there is one for each layer and size of pictures.
const PLANS: usize = 4096;

thread_local! {
    // cuDNN's handles belong to a thread. They stay open until the process ends: closing one after its GPU has failed
    // fails too, and a panic at the end of a thread would abort the process.
    static HANDLES: RefCell<ManuallyDrop<HashMap<DeviceId, Handle>>> = RefCell::default();
}

/// Queues y = x * weight. `false` if cuDNN has no algorithm for these sizes, or none whose workspace fits.
///
/// `addresses` are those of x, weight and y, tensors of `sizes`; y is written.
pub(super) fn convolve(device: &CudaDevice, sizes: Sizes, addresses: [Address; 3]) -> Result<bool> {
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().w()?;
    HANDLES.with_borrow_mut(|handles| {
        let handle = match handles.entry(device.id()) {
            Entry::Occupied(handle) => handle.into_mut(),
            Entry::Vacant(empty) => {
                empty.insert(Handle::open(&stream).map_err(|error| failed("opening a handle", error))?)
            }
        };
        handle.convolve(&stream, sizes, addresses)
    })
}

struct Handle {
    handle: sys::cudnnHandle_t,
    plans: HashMap<Sizes, Plan>,
}

impl Handle {
    fn open(stream: &CudaStream) -> std::result::Result<Self, CudnnError> {
        let handle = result::create_handle()?;
        // Sound: both exist, and the stream lives as long as the device, which every call is given.
        #[allow(unsafe_code)]
        unsafe {
            result::set_stream(handle, stream.cu_stream().cast())?;
        }
        Ok(Self { handle, plans: HashMap::new() })
    }

    fn convolve(&mut self, stream: &Arc<CudaStream>, sizes: Sizes, addresses: [Address; 3]) -> Result<bool> {
        if self.plans.len() >= PLANS {
            self.plans.clear();
        }
        let described = |error| failed(&format!("a convolution of {sizes:?}"), error);
        let plan = match self.plans.entry(sizes) {
            Entry::Occupied(plan) => plan.into_mut(),
            Entry::Vacant(empty) => empty.insert(Plan::new(self.handle, sizes).map_err(described)?),
        };
        let mut at = 0;
        while let Some(&way) = plan.ways.get(at) {
            // The pool gives the same memory to call after call. Sound: the algorithm writes it before it reads it.
            #[allow(unsafe_code)]
            let workspace = (way.workspace > 0).then(|| unsafe { stream.alloc::<u8>(way.workspace) });
            let mut workspace = match workspace.transpose() {
                Err(error) if error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                    at += 1;
                    continue;
                }
                workspace => workspace.w()?,
            };
            let space = workspace.as_mut().map_or(0, |workspace| workspace.device_ptr_mut(stream).0);
            match plan.queue(self.handle, way, addresses, space) {
                Ok(()) => return Ok(true),
                Err(error) if plan::is_unsupported(error) => drop(plan.ways.remove(at)),
                Err(error) => return Err(described(error)),
            }
        }
        Ok(false)
    }
}

fn failed(what: &str, error: CudnnError) -> Error {
    Error::Cuda(format!("cuDNN failed at {what}: {error}").into())
}
