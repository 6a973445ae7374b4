//! Slices of CPU tensors, for the CPU kernels.

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};

/// Number of multiplications below which a second thread does not pay.
pub(super) const PARALLEL_FLOOR: usize = 1 << 18;

/// Calls `kernel` with the numbers of CPU tensors, contiguous and f32. Returns its result as a tensor of `shape` in the
/// dtype of the first tensor.
pub(super) fn on_slices<const N: usize>(
    tensors: [&Tensor; N],
    shape: &[usize],
    kernel: impl FnOnce([&[f32]; N]) -> Vec<f32>,
) -> Result<Tensor> {
    let dtype = tensors[0].dtype();
    let tensors = tensors.map(|t| t.to_dtype(DType::F32)?.contiguous());
    let mut ready = Vec::with_capacity(N);
    for tensor in tensors {
        ready.push(tensor?);
    }
    let guards: Vec<_> = ready.iter().map(Tensor::storage_and_layout).collect();
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(CpuStorage::F32(values)) = &**storage else {
            candle_core::bail!("a CPU kernel was given a tensor that is not on the CPU");
        };
        *slice = &values[layout.start_offset()..layout.start_offset() + layout.shape().elem_count()];
    }
    Tensor::from_vec(kernel(slices), shape, &Device::Cpu)?.to_dtype(dtype)
}
