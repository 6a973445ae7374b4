//! What a device is.

use candle_core::Device;
use serde_json::{Value, json};

use super::error::MeasureError;
use crate::pipeline::describe_device;

/// Name, memory and versions of a device.
pub(super) fn of(device: &Device) -> Result<Value, MeasureError> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda(device),
        _ => Ok(processor(device)),
    }
}

#[cfg(feature = "cuda")]
fn cuda(device: &candle_core::CudaDevice) -> Result<Value, MeasureError> {
    use candle_core::cuda_backend::cudarc::driver::{DriverError, sys};

    let failed =
        |error: DriverError| MeasureError::Failed(format!("the driver cannot describe the device: {error}"));
    let stream = device.cuda_stream();
    let context = stream.context();
    let (major, minor) = context.compute_capability().map_err(failed)?;
    let (free, total) = context.mem_get_info().map_err(failed)?;
    let attribute = |attribute| context.attribute(attribute).map_err(failed);
    let mut driver = 0;
    // Sound: it writes one number, to a valid place.
    #[allow(unsafe_code)]
    unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result().map_err(failed)?;
    use sys::CUdevice_attribute as Attribute;
    Ok(json!({
        "name": context.name().map_err(failed)?,
        "compute_capability": format!("{major}.{minor}"),
        "memory_bytes": total,
        "free_memory_bytes": free,
        "multiprocessors": attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        "threads_per_multiprocessor":
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
        "l2_bytes": attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        "driver_supports_cuda": format!("{}.{}", driver / 1000, driver % 1000 / 10),
    }))
}

fn processor(device: &Device) -> Value {
    let read = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let kib = |text: String| text.split_whitespace().next()?.parse::<u64>().ok();
    json!({
        "name": read("/proc/cpuinfo", "model name").unwrap_or_else(|| describe_device(device)),
        "threads": rayon::current_num_threads(),
        "memory_bytes": read("/proc/meminfo", "MemTotal").and_then(kib).map(|kib| kib * 1024),
    })
}
