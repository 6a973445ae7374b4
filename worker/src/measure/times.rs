//! Times of repeated work on a device.

use std::time::{Duration, Instant};

use candle_core::Device;
use serde::Serialize;

use super::error::MeasureError;

/// The times of several runs, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Times {
    pub(super) median: f64,
    min: f64,
    max: f64,
    /// Number of runs.
    n: usize,
}

impl Times {
    /// Runs `work` `first` times without timing it, then `most` times, or fewer if `within` has passed. A run ends when
    /// the device has done its work.
    pub(super) fn of<T, E>(
        device: &Device,
        first: usize,
        most: usize,
        within: Duration,
        mut work: impl FnMut() -> Result<T, E>,
    ) -> Result<Self, MeasureError>
    where
        MeasureError: From<E>,
    {
        for _ in 0..first {
            work()?;
        }
        let begun = Instant::now();
        let mut times = vec![milliseconds(device, &mut work)?];
        while times.len() < most && begun.elapsed() < within {
            times.push(milliseconds(device, &mut work)?);
        }
        Ok(Self::from(times))
    }
}

impl From<Vec<f64>> for Times {
    /// Of at least one time.
    fn from(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
        let n = times.len();
        let median = (at(n.saturating_sub(1) / 2) + at(n / 2)) / 2.0;
        Self { median: round(median), min: round(at(0)), max: round(at(n.saturating_sub(1))), n }
    }
}

/// The time until the device has done `work`.
pub(super) fn milliseconds<T, E>(
    device: &Device,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<f64, MeasureError>
where
    MeasureError: From<E>,
{
    device.synchronize()?;
    let begun = Instant::now();
    work()?;
    device.synchronize()?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Four digits after the point: tenths of a microsecond, if it is in milliseconds.
pub(super) fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_two() {
        let times = Times::from(vec![3.0, 1.0, 2.0]);
        assert_eq!(times, Times { median: 2.0, min: 1.0, max: 3.0, n: 3 });
        assert_eq!(Times::from(vec![4.0, 1.0]).median, 2.5);
        assert_eq!(Times::from(vec![7.0]), Times { median: 7.0, min: 7.0, max: 7.0, n: 1 });
    }

    #[test]
    fn first_runs_are_not_counted() {
        let mut runs = 0;
        let times = Times::of(&Device::Cpu, 2, 3, Duration::MAX, || {
            runs += 1;
            Ok::<_, MeasureError>(())
        });
        assert_eq!((times.unwrap().n, runs), (3, 5));
    }
}
