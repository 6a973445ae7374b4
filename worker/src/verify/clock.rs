//! How long an operation takes.

use std::time::{Duration, Instant};

use candle_core::{Device, Result};

/// The shortest of these rounds counts: other work on the device only makes a round longer.
const ROUNDS: usize = 3;

/// A round repeats the operation until it takes about this long, but at most [`MOST`] times.
const ROUND: Duration = Duration::from_millis(4);
const MOST: u32 = 20;

/// What takes so long is run no more: noise is a small part of it.
const LONG: Duration = Duration::from_millis(50);

/// The time of one run. The first runs are not counted: they load kernels and choose algorithms.
///
/// # Errors
/// If the device or the operation fails.
pub(super) fn time<T>(device: &Device, run: impl Fn() -> Result<T>) -> Result<Duration> {
    let round = |times: u32| {
        device.synchronize()?;
        let begun = Instant::now();
        for _ in 0..times {
            run()?;
        }
        device.synchronize()?;
        Ok::<_, candle_core::Error>(begun.elapsed() / times)
    };
    round(1)?;
    let once = round(1)?;
    if once >= LONG {
        return Ok(once);
    }
    let times = (ROUND.as_nanos() / once.as_nanos().max(1)).clamp(1, MOST.into()) as u32;
    let mut shortest = once;
    for _ in 0..ROUNDS {
        shortest = shortest.min(round(times)?);
    }
    Ok(shortest)
}
