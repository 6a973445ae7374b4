//! What is set once when a GPU is opened.

use std::ptr;

use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{Device, Result};

/// Prepares a GPU before the first tensor is on it. Other devices need nothing.
///
/// - cudarc stops tracking each tensor by two events.
/// - The memory pool keeps what is freed, so that the next step's tensors need no call of the operating system.
///
/// # Errors
/// If the driver refuses.
pub fn prepare(device: &Device) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    // Sound: events order several streams. Here all work is on the one stream that the device was opened with
    // (`Device::new_cuda_with_stream`): kernels, copies, cuBLAS, cuDNN, FlashAttention, allocation and release. A
    // stream runs its work in the order of the calls, on whichever thread they are made.
    #[allow(unsafe_code)]
    unsafe {
        device.disable_event_tracking();
    }
    keep_pool(device)
}

/// Waits for all work, then gives back what the memory pool keeps unused: cuBLAS and cuDNN allocate outside of the
/// pool.
///
/// # Errors
/// If the driver refuses.
pub fn release(device: &Device) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    let Some(pool) = pool(device)? else { return Ok(()) };
    device.cuda_stream().synchronize().w()?;
    release_graphs(device);
    // Sound: the pool lives as long as its device.
    #[allow(unsafe_code)]
    unsafe {
        result::mem_pool::trim_to(pool, 0).w()
    }
}

/// Gives back the memory of CUDA graphs that do not run now: it is not the pool's, and the driver keeps it when a graph
/// is destroyed.
pub fn release_graphs(device: &CudaDevice) {
    let stream = device.cuda_stream();
    // Sound: the device is the context's. If the driver refuses, there is less memory, and nothing is wrong.
    #[allow(unsafe_code)]
    let _ = unsafe { sys::cuDeviceGraphMemTrim(stream.context().cu_device()) };
}

fn keep_pool(device: &CudaDevice) -> Result<()> {
    let Some(pool) = pool(device)? else { return Ok(()) };
    let mut threshold = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // Sound: the pool lives as long as its device, and the attribute is a u64 that is read before the call returns.
    #[allow(unsafe_code)]
    unsafe {
        result::mem_pool::set_attribute(pool, attribute, ptr::from_mut(&mut threshold).cast()).w()
    }
}

/// The pool of a device, if its driver has pools.
fn pool(device: &CudaDevice) -> Result<Option<sys::CUmemoryPool>> {
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(None);
    }
    // Sound: the device is the context's.
    #[allow(unsafe_code)]
    unsafe {
        result::device::get_mem_pool(context.cu_device()).w().map(Some)
    }
}
