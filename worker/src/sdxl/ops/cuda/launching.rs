//! The compiled kernels, loaded when they are first needed, and their launches.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaModule, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDevice, DeviceId, WrapErr};
use candle_core::{DType, Error, Result};

use super::super::kernels::{Argument, Function, Launch};
use super::tensors::Address;

/// A source of `worker/kernels`, as `worker/build.rs` compiled it: machine code for one or several GPUs.
#[derive(Clone, Copy)]
struct Image {
    name: &'static str,
    code: &'static [u8],
}

macro_rules! image {
    ($name:literal) => {
        Image { name: $name, code: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".fatbin")) }
    };
}

fn image(function: Function) -> Image {
    match function {
        Function::GroupNormStatistics | Function::GroupNormApply => image!("group_norm"),
        Function::LayerNorm => image!("layer_norm"),
        Function::Geglu => image!("geglu"),
        Function::BiasResidual => image!("bias_residual"),
        Function::GuidanceStep => image!("guidance_step"),
        Function::Pixels => image!("pixels"),
        Function::Finite => image!("finite"),
    }
}

/// What is loaded, of each device.
#[derive(Default)]
struct Loaded {
    modules: HashMap<(DeviceId, &'static str), Arc<CudaModule>>,
    functions: HashMap<(DeviceId, Function, DType), CudaFunction>,
}

static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

impl Loaded {
    fn function(&mut self, device: &CudaDevice, function: Function, dtype: DType) -> Result<CudaFunction> {
        let key = (device.id(), function, dtype);
        if let Some(loaded) = self.functions.get(&key) {
            return Ok(loaded.clone());
        }
        let loaded = self.module(device, image(function))?.load_function(&name(function, dtype)).w()?;
        self.functions.insert(key, loaded.clone());
        Ok(loaded)
    }

    fn module(&mut self, device: &CudaDevice, image: Image) -> Result<Arc<CudaModule>> {
        let key = (device.id(), image.name);
        if let Some(module) = self.modules.get(&key) {
            return Ok(module.clone());
        }
        let stream = device.cuda_stream();
        let module = stream.context().load_module(Ptx::from_binary(image.code.to_vec())).w()?;
        self.modules.insert(key, module.clone());
        Ok(module)
    }
}

/// The function's name in its source.
fn name(function: Function, dtype: DType) -> String {
    let suffix = match dtype {
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        _ => "f32",
    };
    format!("{}_{suffix}", function.name())
}

/// Queues a launch for tensors of `dtype`: f32, f16 or bf16.
///
/// Its buffers must be as [`super::super::kernels`] says. Nothing may read a tensor that it writes before it has run.
pub(super) fn queue(device: &CudaDevice, dtype: DType, launch: &Launch<Address>) -> Result<()> {
    queue_now(device, dtype, launch).map_err(|error| {
        Error::Cuda(format!("the kernel {} cannot be launched: {error}", name(launch.function, dtype)).into())
    })
}

fn queue_now(device: &CudaDevice, dtype: DType, launch: &Launch<Address>) -> Result<()> {
    let function = {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.function(device, launch.function, dtype)?
    };
    // The builder keeps references to the parameters until it launches.
    let parameters: Vec<Parameter> = launch.arguments.iter().map(Parameter::of).collect();
    let stream = device.cuda_stream();
    let mut builder = stream.launch_builder(&function);
    for parameter in &parameters {
        match parameter {
            Parameter::Pointer(value) => builder.arg(value),
            Parameter::Index(value) => builder.arg(value),
            Parameter::Int(value) => builder.arg(value),
            Parameter::Float(value) => builder.arg(value),
        };
    }
    let size = |value: usize| value as u32;
    let config = LaunchConfig {
        grid_dim: (size(launch.grid.x), size(launch.grid.y), 1),
        block_dim: (size(launch.grid.threads), 1, 1),
        shared_mem_bytes: 0,
    };
    // Sound: number, order and types of the parameters are the kernel's: the tests emulate it with the same `Launch`;
    // grids are within a GPU's limits by `kernels`; the buffers are those of living tensors, and one stream orders this
    // launch before their release.
    #[allow(unsafe_code)]
    unsafe {
        builder.launch(config).w()?;
    }
    Ok(())
}

/// A parameter in the type that the kernel declares.
enum Parameter {
    Pointer(Address),
    Index(i64),
    Int(i32),
    Float(f32),
}

impl Parameter {
    fn of(argument: &Argument<Address>) -> Self {
        match *argument {
            Argument::Buffer(address) => Self::Pointer(address),
            Argument::Null => Self::Pointer(0),
            Argument::Index(value) => Self::Index(value as i64),
            Argument::Int(value) => Self::Int(value as i32),
            Argument::Float(value) => Self::Float(value),
        }
    }
}
