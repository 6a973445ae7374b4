//! Compares tensors with fixtures.

use candle_core::Tensor;

use super::numbers::numbers;

/// ||a - b|| / ||b||; infinite if a number is not finite.
pub(crate) fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let (difference, size) = (norm(&mut a.iter().zip(b).map(|(a, b)| a - b)), norm(&mut b.iter().copied()));
    match (difference, size) {
        (0.0, _) => 0.0,
        (difference, size) if difference.is_finite() => difference / size,
        _ => f64::INFINITY,
    }
}

/// Panics unless `actual` has the shape of `expected` and is within `limit` of it (relative L2).
#[track_caller]
pub(crate) fn assert_close(name: &str, actual: &Tensor, expected: &Tensor, limit: f64) {
    assert_eq!(actual.dims(), expected.dims(), "shape of {name}");
    let error = relative(&numbers(actual), &numbers(expected));
    assert!(error <= limit, "{name}: relative L2 error {error:.3e} is above {limit:.0e}");
}
