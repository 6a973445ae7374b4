//! Devices by their name: `auto`, `cpu`, `cuda:N`, `metal:N`.

use std::panic::{self, AssertUnwindSafe};
use std::str::FromStr;

use candle_core::Device;

use crate::sdxl::LoadError;

/// A device's name, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// The first GPU that this binary supports and finds, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
    /// A GPU of Apple's, by its number.
    Metal(usize),
}

impl FromStr for DeviceName {
    type Err = LoadError;

    fn from_str(name: &str) -> Result<Self, LoadError> {
        let failed = |message: &str| LoadError::Device { device: name.into(), message: message.into() };
        let (kind, index) = name.split_once(':').map_or((name, None), |(kind, index)| (kind, Some(index)));
        let number = || match index {
            None => Ok(0),
            Some(index) => index.parse().map_err(|_| failed("the part after the colon is not a number")),
        };
        match (kind, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("auto" | "cpu", Some(_)) => Err(failed("this device has no number: write it without the colon")),
            ("cuda", _) => Ok(Self::Cuda(number()?)),
            ("metal", _) => Ok(Self::Metal(number()?)),
            _ => Err(failed("expected auto, cpu, cuda:N or metal:N")),
        }
    }
}

/// Opens a device by its name. `auto` is the first GPU that this binary supports and finds, otherwise the CPU, and the
/// log says why.
///
/// # Errors
/// If the name is unknown or the device is not available.
pub fn parse_device(name: &str) -> Result<Device, LoadError> {
    let failed = |message: String| LoadError::Device { device: name.into(), message };
    match name.parse()? {
        DeviceName::Auto => Ok(automatic()),
        DeviceName::Cpu => Ok(Device::Cpu),
        DeviceName::Cuda(index) => cuda(index).map_err(failed),
        DeviceName::Metal(index) => metal(index).map_err(failed),
    }
}

fn automatic() -> Device {
    let metal = || candle_core::utils::metal_is_available().then(|| metal(0));
    cuda(0).or_else(|why| metal().unwrap_or(Err(why))).unwrap_or_else(|why| {
        tracing::info!("--device auto takes the CPU, because there is no GPU to use: {why}");
        Device::Cpu
    })
}

/// The CUDA binding panics if a library lacks a function that it calls, for example that of an old driver. The panic is
/// returned as the reason, and not printed.
fn guarded(open: impl FnOnce() -> candle_core::Result<Device>) -> Result<Device, String> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let opened = panic::catch_unwind(AssertUnwindSafe(open));
    panic::set_hook(hook);
    match opened {
        // A backtrace may follow the first line.
        Ok(device) => device.map_err(|e| e.to_string().lines().next().unwrap_or_default().to_owned()),
        Err(why) => {
            let why = why.downcast_ref::<String>().map_or("its driver failed", String::as_str);
            Err(format!("its driver is too old, or damaged: {why}"))
        }
    }
}

fn cuda(index: usize) -> Result<Device, String> {
    if !candle_core::utils::cuda_is_available() {
        return Err("this binary was built without CUDA".into());
    }
    #[cfg(feature = "dlopen")]
    if let Some(library) = missing_library() {
        return Err(format!("{library} cannot be opened: it is not installed, or not in LD_LIBRARY_PATH"));
    }
    #[cfg(feature = "dlopen")]
    if let Some(why) = outdated_driver() {
        return Err(why);
    }
    guarded(|| open_cuda(index))
}

/// Opens the GPU with one stream for all of its work, from any thread. With candle's default, a stream for each thread,
/// work that one thread queues would not wait for work that another has queued.
fn open_cuda(index: usize) -> candle_core::Result<Device> {
    let device = Device::new_cuda_with_stream(index)?;
    #[cfg(feature = "cuda")]
    crate::sdxl::ops::prepare_cuda(&device)?;
    Ok(device)
}

/// The first library that is missing, of those that candle opens. candle itself panics if one is missing, and for cuDNN
/// only in the first job.
#[cfg(feature = "dlopen")]
fn missing_library() -> Option<&'static str> {
    use candle_core::cuda_backend::cudarc;
    // Sound: it opens libraries of NVIDIA's, whose initialisers have no preconditions.
    #[allow(unsafe_code)]
    let present = unsafe {
        [
            ("NVIDIA's driver (libcuda)", cudarc::driver::sys::is_culib_present()),
            ("libcublas", cudarc::cublas::sys::is_culib_present()),
            ("libcurand", cudarc::curand::sys::is_culib_present()),
            #[cfg(feature = "cudnn")]
            ("libcudnn", cudarc::cudnn::sys::is_culib_present()),
        ]
    };
    present.into_iter().find_map(|(library, here)| (!here).then_some(library))
}

/// Why the driver cannot run the kernels in this binary, which are machine code of one major version of CUDA. Without this
/// each of them would fail by itself, and FlashAttention would leave its result unset without an error.
#[cfg(feature = "dlopen")]
fn outdated_driver() -> Option<String> {
    use candle_core::cuda_backend::cudarc::driver::sys;
    // As 13000; scripts/build-cuda sets it, for cudarc too.
    let built: i32 = option_env!("CUDARC_CUDA_VERSION")?.parse().ok()?;
    let mut driver = 0;
    // It writes one number to a place that is valid for it.
    #[allow(unsafe_code)]
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut driver) };
    asked.result().ok()?;
    let version = |number: i32| format!("{}.{}", number / 1000, number % 1000 / 10);
    (driver / 1000 < built / 1000).then(|| {
        format!(
            "NVIDIA's driver supports CUDA {}, and this binary was built with CUDA {}: install a newer driver, or build with \
             an older toolkit (CUDA_HOME=... scripts/build-cuda)",
            version(driver),
            version(built)
        )
    })
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
