//! How far a result is from the reference.
//!
//! The reference is the portable form in f32, on the same numbers. The error is the largest difference of any number,
//! relative to the reference's number or, if larger, to the root mean square of all of them: one wrong number among
//! millions counts. A number that is not finite is infinitely far.

use candle_core::{D, DType, Result, Tensor};

use super::case::Output;

/// Numbers that are compared at once: more would need several times the memory of the operation.
const PART: usize = 1 << 24;

/// The numbers of a row: a GPU sums rows side by side.
const ROW: usize = 1 << 12;

/// The error of `own`. For bytes the largest difference; for a flag 0 or infinity.
///
/// # Errors
/// If the device fails.
pub(super) fn error(own: &Output, reference: &Output) -> Result<f64> {
    match (own, reference) {
        (Output::Tensors(own), Output::Tensors(reference)) if own.len() == reference.len() => {
            let errors = own.iter().zip(reference).map(|(own, reference)| of_tensor(own, reference));
            errors.reduce(|a, b| Ok(a?.max(b?))).unwrap_or(Ok(0.0))
        }
        (Output::Bytes(Some(own)), Output::Bytes(Some(reference))) if own.len() == reference.len() => {
            let differences = own.iter().zip(reference).map(|(a, b)| a.abs_diff(*b));
            Ok(differences.max().unwrap_or(0).into())
        }
        (Output::Bytes(None), Output::Bytes(None)) => Ok(0.0),
        (Output::Flag(own), Output::Flag(reference)) if own == reference => Ok(0.0),
        _ => Ok(f64::INFINITY),
    }
}

fn of_tensor(own: &Tensor, reference: &Tensor) -> Result<f64> {
    if own.dims() != reference.dims() {
        return Ok(f64::INFINITY);
    }
    let (own, reference) = (own.flatten_all()?, reference.flatten_all()?);
    let count = reference.elem_count();
    let part = |x: &Tensor, first: usize| {
        let length = PART.min(count - first);
        let x = x.narrow(0, first, length)?.to_dtype(DType::F32)?;
        if length.is_multiple_of(ROW) { x.reshape(((), ROW)) } else { x.unsqueeze(0) }
    };
    let sum = |x: Tensor| x.sum(D::Minus1)?.sum_all()?.to_scalar::<f32>().map(f64::from);
    let mut squares = 0.0;
    for first in (0..count).step_by(PART) {
        squares += sum(part(&reference, first)?.sqr()?)?;
    }
    let typical = (squares / count.max(1) as f64).sqrt().max(f64::from(f32::MIN_POSITIVE));
    let mut largest = 0f64;
    for first in (0..count).step_by(PART) {
        let reference = part(&reference, first)?;
        let difference = (part(&own, first)? - &reference)?.abs()?;
        // A GPU's maximum ignores NaN. So NaN and infinity are looked for first: times 0, both are NaN.
        if sum(difference.affine(0.0, 0.0)?)? != 0.0 {
            return Ok(f64::INFINITY);
        }
        let size = reference.abs()?.maximum(typical)?;
        let worst = (difference / size)?.max(D::Minus1)?.max_all()?.to_scalar::<f32>()?;
        largest = largest.max(worst.into());
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn tensor(values: Vec<f32>) -> Output {
        let count = values.len();
        Output::Tensors(vec![Tensor::from_vec(values, count, &Device::Cpu).unwrap()])
    }

    #[test]
    fn the_largest_difference_counts_relative_to_the_number_or_the_typical_number() {
        // The root mean square is 5.
        let reference = tensor(vec![1.0, 7.0, 1.0, 7.0]);
        for (at, value, expected) in [(0, 2.0, 0.2), (1, 8.4, 0.2), (3, 7.0, 0.0)] {
            let mut own = vec![1.0, 7.0, 1.0, 7.0];
            own[at] = value;
            let error = error(&tensor(own), &reference).unwrap();
            assert!((error - expected).abs() < 1e-6, "{at}: {error}");
        }
    }

    #[test]
    fn what_is_not_finite_is_infinitely_far_wherever_it_is() {
        let count = PART + ROW + 1;
        let fine = vec![1.0; count];
        for (at, bad) in [(0, f32::NAN), (PART - 1, f32::INFINITY), (count - 1, f32::NEG_INFINITY)] {
            let mut own = fine.clone();
            own[at] = bad;
            assert_eq!(error(&tensor(own), &tensor(fine.clone())).unwrap(), f64::INFINITY);
        }
        let mut own = fine.clone();
        own[PART] = 1.5;
        assert!((error(&tensor(own), &tensor(fine)).unwrap() - 0.5).abs() < 1e-6);
    }

    #[test]
    fn other_outputs_are_equal_or_not() {
        let bytes = |bytes: [u8; 2]| Output::Bytes(Some(bytes.to_vec()));
        for (own, reference, expected) in [
            (bytes([1, 2]), bytes([1, 2]), 0.0),
            (bytes([1, 2]), bytes([1, 0]), 2.0),
            (bytes([1, 2]), Output::Bytes(None), f64::INFINITY),
            (Output::Bytes(None), Output::Bytes(None), 0.0),
            (Output::Flag(true), Output::Flag(true), 0.0),
            (Output::Flag(true), Output::Flag(false), f64::INFINITY),
            (tensor(vec![1.0; 2]), tensor(vec![1.0; 3]), f64::INFINITY),
            (tensor(vec![0.0; 2]), tensor(vec![0.0; 2]), 0.0),
        ] {
            assert_eq!(error(&own, &reference).unwrap(), expected, "{own:?} {reference:?}");
        }
    }
}
