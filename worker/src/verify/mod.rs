//! Compares the device's own form of each operation with the portable form, on fresh random numbers at SDXL's shapes.
//! If a kernel is wrong on some GPU, the portable form is used instead: slower, but right.
//!
//! `sdxl` has the shapes and `cases` the comparisons; `examine` runs one; `verdict` decides which form is used; `table`
//! switches the forms and logs it.

mod case;
mod cases;
mod clock;
mod compare;
mod examine;
mod numbers;
mod row;
mod sdxl;
mod table;
mod verdict;

use std::time::Instant;

use candle_core::{DType, Device};

use crate::pipeline::PipelineError;
use crate::sdxl::ops::{Op, allow_tf32};

pub use case::{Arithmetic, Case, Form, Input, Output};
pub use row::{Finding, Row};
pub use sdxl::{Scale, cases};
pub use table::Table;
pub use verdict::Verdict;

/// Decides which form of each operation a GPU runs, and logs why. Call it once, before a model of this dtype is loaded,
/// while the device's memory is free. On a CPU and on Metal there is nothing to choose.
///
/// # Errors
/// If the device is lost. An operation that fails otherwise is switched off.
pub fn at_start(device: &Device, dtype: DType) -> Result<(), PipelineError> {
    if !device.is_cuda() {
        return Ok(());
    }
    for op in Op::ALL {
        op.use_own(true);
    }
    allow_tf32(dtype != DType::F32);
    let begun = Instant::now();
    let table = Table::of(&cases(dtype, Scale::Sdxl), device, rand::random())?;
    table.apply();
    // The largest shapes take more than a step does: other processes may need it.
    #[cfg(feature = "cuda")]
    crate::sdxl::ops::release_cuda(device)?;
    let (shapes, seconds) = (table.rows().len(), begun.elapsed().as_secs_f64());
    tracing::info!(
        "compared the GPU's operations with their portable forms at {shapes} shapes, in {seconds:.1} s"
    );
    Ok(())
}

/// The same comparison, in the dtype that a worker uses on the device. It switches nothing.
///
/// # Errors
/// If the device is lost.
pub fn examine_device(device: &Device, scale: Scale) -> Result<Table, PipelineError> {
    let dtype = if device.is_cpu() { DType::F32 } else { DType::F16 };
    // On Metal the operations are the portable ones.
    let cases = if device.is_metal() { Vec::new() } else { cases(dtype, scale) };
    Table::of(&cases, device, rand::random())
}
