//! Devices by their name: `auto`, `cpu`, `cuda:N`, `metal:N`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::Device;

use crate::sdxl::LoadError;

/// Opens a device by its name. `auto` is the first GPU that this binary supports and finds, otherwise the CPU.
///
/// # Errors
/// If the name is unknown or the device is not available.
pub fn parse_device(name: &str) -> Result<Device, LoadError> {
    let failed = |message: String| LoadError::Device { device: name.into(), message };
    let (kind, index) = name.split_once(':').map_or((name, None), |(kind, index)| (kind, Some(index)));
    let number = || match index {
        None => Ok(0),
        Some(index) => index.parse().map_err(|_| failed("the part after the colon is not a number".into())),
    };
    match (kind, index) {
        ("auto", None) => Ok(cuda(0).or_else(|_| metal(0)).unwrap_or(Device::Cpu)),
        ("cpu", None) => Ok(Device::Cpu),
        ("auto" | "cpu", Some(_)) => {
            Err(failed("this device has no number: write it without the colon".into()))
        }
        ("cuda", _) => cuda(number()?).map_err(failed),
        ("metal", _) => metal(number()?).map_err(failed),
        _ => Err(failed("expected auto, cpu, cuda:N or metal:N".into())),
    }
}

/// Opens a device. Some builds of the CUDA binding panic if the driver is not installed.
fn guarded(open: impl FnOnce() -> candle_core::Result<Device>) -> Result<Device, String> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(device) => device.map_err(|e| e.to_string()),
        Err(_) => Err("its driver could not be loaded".into()),
    }
}

fn cuda(index: usize) -> Result<Device, String> {
    if !candle_core::utils::cuda_is_available() {
        return Err("this binary was built without CUDA".into());
    }
    guarded(|| Device::new_cuda(index))
}

fn metal(index: usize) -> Result<Device, String> {
    if !candle_core::utils::metal_is_available() {
        return Err("this binary was built without Metal".into());
    }
    guarded(|| Device::new_metal(index))
}

/// The device's name, for messages and logs.
pub fn describe(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => {
            format!("cpu ({} threads)", rayon::current_num_threads())
        }
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}
