//! Reads the peak of memory: of a GPU's pool, or of the process.

use candle_core::Device;
use serde_json::{Value, json};

use super::error::MeasureError;

/// A meter of one device's memory.
pub(super) enum Meter {
    /// The resident memory of this process.
    Process,
    /// The pool from which candle takes all memory of a GPU.
    #[cfg(feature = "cuda")]
    Pool(pool::Pool),
}

impl Meter {
    pub(super) fn of(device: &Device) -> Result<Self, MeasureError> {
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Ok(Self::Pool(pool::Pool::of(device)?)),
            _ => Ok(Self::Process),
        }
    }

    /// What the numbers are.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Process => "resident memory of the process",
            #[cfg(feature = "cuda")]
            Self::Pool(_) => "memory from the device's pool, without that of CUDA's context and libraries",
        }
    }

    /// Forgets the peak.
    pub(super) fn reset(&self) -> Result<(), MeasureError> {
        match self {
            Self::Process => {
                // Linux: resets VmHWM. Where it is not allowed, a peak stays that of all phases before.
                let _ = std::fs::write("/proc/self/clear_refs", "5");
                Ok(())
            }
            #[cfg(feature = "cuda")]
            Self::Pool(pool) => pool.reset(),
        }
    }

    /// The most bytes since the last reset; null if the system does not say.
    pub(super) fn peak(&self) -> Result<Value, MeasureError> {
        match self {
            Self::Process => Ok(json!(process("VmHWM:"))),
            #[cfg(feature = "cuda")]
            Self::Pool(pool) => Ok(json!(pool.peak()?)),
        }
    }

    /// The bytes that are taken now.
    pub(super) fn in_use(&self) -> Result<Value, MeasureError> {
        match self {
            Self::Process => Ok(json!({ "process_bytes": process("VmRSS:") })),
            #[cfg(feature = "cuda")]
            Self::Pool(pool) => pool.in_use(),
        }
    }
}

/// A number of bytes in the process' status.
fn process(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(feature = "cuda")]
mod pool {
    use std::ffi::c_void;
    use std::sync::Arc;

    use candle_core::CudaDevice;
    use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, sys};
    use serde_json::{Value, json};
    use sys::CUmemPool_attribute as Attribute;

    use super::MeasureError;

    /// The memory pool of a device.
    pub(in super::super) struct Pool {
        context: Arc<CudaContext>,
        pool: sys::CUmemoryPool,
    }

    impl Pool {
        pub(super) fn of(device: &CudaDevice) -> Result<Self, MeasureError> {
            let context = device.cuda_stream().context().clone();
            let mut pool = std::ptr::null_mut();
            // Sound: the context is of a device that exists, and the place for the pool is valid.
            #[allow(unsafe_code)]
            unsafe { sys::cuDeviceGetMemPool(&raw mut pool, context.cu_device()) }
                .result()
                .map_err(failed)?;
            Ok(Self { context, pool })
        }

        pub(super) fn peak(&self) -> Result<u64, MeasureError> {
            self.get(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
        }

        pub(super) fn in_use(&self) -> Result<Value, MeasureError> {
            let (free, total) = self.context.mem_get_info().map_err(failed)?;
            Ok(json!({
                "pool_used_bytes": self.get(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?,
                "pool_reserved_peak_bytes": self.get(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?,
                "device_bytes_of_all_processes": total - free,
            }))
        }

        pub(super) fn reset(&self) -> Result<(), MeasureError> {
            let mut zero = 0_u64;
            // Sound: the attribute is a number of 64 bits, and 0 is the one value that may be written to it.
            #[allow(unsafe_code)]
            unsafe {
                sys::cuMemPoolSetAttribute(
                    self.pool,
                    Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH,
                    (&raw mut zero).cast::<c_void>(),
                )
            }
            .result()
            .map_err(failed)
        }

        fn get(&self, attribute: Attribute) -> Result<u64, MeasureError> {
            let mut value = 0_u64;
            // Sound: each attribute that is read here is a number of 64 bits.
            #[allow(unsafe_code)]
            unsafe { sys::cuMemPoolGetAttribute(self.pool, attribute, (&raw mut value).cast::<c_void>()) }
                .result()
                .map_err(failed)?;
            Ok(value)
        }
    }

    fn failed(error: DriverError) -> MeasureError {
        MeasureError::Failed(format!("the driver cannot read its memory pool: {error}"))
    }
}
