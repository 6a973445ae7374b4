//! Tensors as kernels and libraries take them: contiguous, by their address.

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, sys::CUdeviceptr};
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice};
use candle_core::op::BackpropOp;
use candle_core::{DType, Result, Shape, Storage, Tensor};

/// An address in the GPU's memory.
///
/// It stays valid for the work that is queued while its tensor lives: the stream releases the memory after that work.
pub(super) type Address = CUdeviceptr;

/// The tensors of one call.
pub(super) struct Operands<const N: usize> {
    pub(super) device: CudaDevice,
    pub(super) dtype: DType,
    /// Contiguous.
    pub(super) tensors: [Tensor; N],
}

/// Tensors of one of the types of `worker/kernels`, made contiguous. `None` if they are of another type, of several
/// types, on several devices, or if one is empty.
pub(super) fn operands<const N: usize>(tensors: [&Tensor; N]) -> Result<Option<Operands<N>>> {
    let first = tensors[0];
    let alike = |tensor: &&Tensor| {
        tensor.dtype() == first.dtype()
            && tensor.device().same_device(first.device())
            && tensor.elem_count() > 0
    };
    if !matches!(first.dtype(), DType::F32 | DType::F16 | DType::BF16) || !tensors.iter().all(alike) {
        return Ok(None);
    }
    let device = first.device().as_cuda_device()?.clone();
    let mut contiguous = tensors.map(Tensor::clone);
    for tensor in &mut contiguous {
        *tensor = tensor.contiguous()?;
    }
    Ok(Some(Operands { device, dtype: first.dtype(), tensors: contiguous }))
}

/// The address of a contiguous tensor's first number.
pub(super) fn address(tensor: &Tensor) -> Result<Address> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        candle_core::bail!("a kernel for a GPU was given a tensor that is not on one");
    };
    let begin = match &storage.slice {
        CudaStorageSlice::F32(slice) => begin(slice),
        CudaStorageSlice::F16(slice) => begin(slice),
        CudaStorageSlice::BF16(slice) => begin(slice),
        CudaStorageSlice::U32(slice) => begin(slice),
        CudaStorageSlice::U8(slice) => begin(slice),
        _ => candle_core::bail!("a kernel for a GPU was given a tensor of {:?}", tensor.dtype()),
    };
    Ok(begin + (layout.start_offset() * tensor.dtype().size_in_bytes()) as Address)
}

/// The address alone: the guard that comes with it records an event, and one stream needs none.
fn begin<T>(slice: &CudaSlice<T>) -> Address {
    slice.device_ptr(slice.stream()).0
}

/// A tensor whose numbers are not set.
///
/// Callers must queue a kernel that writes all of them.
pub(super) fn unset(device: &CudaDevice, dtype: DType, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    // Sound: every bit pattern is a number of these types, and callers write all of them before they are read.
    #[allow(unsafe_code)]
    let storage = unsafe { device.alloc_uninit(&shape, dtype)? };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}
