//! Runs one comparison.

use std::result;

use candle_core::{DType, Device, Result, Tensor};

use super::case::{Case, Output};
use super::clock::time;
use super::compare;
use super::numbers::Numbers;
use super::row::{Finding, Row};
use crate::pipeline::PipelineError;

/// Runs a case, with no more in memory than it needs.
///
/// # Errors
/// If the device is lost.
pub(super) fn examine(
    case: &Case,
    numbers: &mut Numbers,
    device: &Device,
) -> result::Result<Row, PipelineError> {
    let finding = match find(case, numbers, device) {
        Ok(finding) => finding,
        Err(Failure { of, error }) => {
            let trouble = Trouble::of(error.into(), device.synchronize().is_ok())?;
            match (of, trouble) {
                (Of::Own, Trouble::Other(message)) => Finding::Failed { message },
                (_, Trouble::Memory(message) | Trouble::Other(message)) => Finding::Skipped { message },
            }
        }
    };
    Ok(Row {
        op: case.op,
        shape: case.shape.clone(),
        dtype: case.dtype,
        tolerance: case.arithmetic.tolerance(case.result, device),
        finding,
    })
}

/// What failed: the device's own form, or what it is compared with.
enum Of {
    Own,
    Other,
}

struct Failure {
    of: Of,
    error: candle_core::Error,
}

fn find(case: &Case, numbers: &mut Numbers, device: &Device) -> result::Result<Finding, Failure> {
    let of_own = |error| Failure { of: Of::Own, error };
    let of_other = |error| Failure { of: Of::Other, error };
    let inputs: Result<Vec<Tensor>> = case.inputs.iter().map(|input| numbers.draw(input)).collect();
    let inputs = inputs.map_err(of_other)?;
    let error = {
        // A kernel's fault shows where the device is waited for.
        let own = (case.own)(&inputs).and_then(|own| device.synchronize().map(|()| own)).map_err(of_own)?;
        let reference = reference(case, &inputs).map_err(of_other)?;
        compare::error(&own, &reference).map_err(of_other)?
    };
    let own = time(device, || (case.own)(&inputs)).map_err(of_own)?;
    let portable = match time(device, || (case.portable)(&inputs)) {
        Ok(portable) => Some(portable),
        Err(error) if device.synchronize().is_err() => return Err(of_other(error)),
        // It may need more memory than there is.
        Err(error) => {
            tracing::debug!("{} at {}: the portable form fails: {error}", case.op.name(), case.shape);
            None
        }
    };
    Ok(Finding::Compared { error, own, portable })
}

/// The portable form's result in f32, on the same numbers.
fn reference(case: &Case, inputs: &[Tensor]) -> Result<Output> {
    let wide: Result<Vec<Tensor>> = inputs.iter().map(|input| input.to_dtype(DType::F32)).collect();
    (case.portable)(&wide?)
}

/// An error after which the device works.
#[derive(Debug, PartialEq)]
enum Trouble {
    Memory(String),
    Other(String),
}

impl Trouble {
    /// `is_alive`: whether the device still answers, which a lost one never does. The error's text does not tell: a
    /// launch that CUDA refuses is harmless.
    fn of(error: PipelineError, is_alive: bool) -> result::Result<Self, PipelineError> {
        let message = match error {
            PipelineError::Device { message } | PipelineError::Fault { message } => message,
            other => other.to_string(),
        };
        if !is_alive {
            return Err(PipelineError::Device { message });
        }
        let is_memory =
            ["OUT_OF_MEMORY", "ALLOC_FAILED", "ALLOCATION_FAILED"].iter().any(|code| message.contains(code));
        Ok(if is_memory { Self::Memory(message) } else { Self::Other(message) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_device_is_told_from_a_failed_launch_and_from_full_memory() {
        let of = |message: &str, is_alive: bool| {
            Trouble::of(candle_core::Error::Msg(message.to_owned()).into(), is_alive)
        };
        let [launch, memory] = ["CUDA_ERROR_INVALID_VALUE", "CUDA_ERROR_OUT_OF_MEMORY"];
        assert_eq!(of(launch, true), Ok(Trouble::Other(launch.to_owned())));
        assert_eq!(of(launch, false), Err(PipelineError::Device { message: launch.to_owned() }));
        assert_eq!(of(memory, true), Ok(Trouble::Memory(memory.to_owned())));
        assert_eq!(of("a shape", true), Ok(Trouble::Other("a shape".to_owned())));
    }
}
