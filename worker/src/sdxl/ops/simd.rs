//! Elementwise functions that the compiler vectorises.
//!
//! `exp` and `erf` of the C library take one number at a time, which made them the slowest part of a small UNet on a
//! CPU. These functions have no branches, so a loop over a slice compiles to SIMD code. [`vectorised`] compiles that
//! loop also for AVX2 and selects at run time, so `-C target-cpu` is not needed.

/// Runs `body` with the widest instruction set of this machine. All functions that it calls must be
/// `#[inline(always)]`: others are compiled for the baseline.
#[inline]
pub(super) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// e^x, relative error below 2e-7; saturates outside -87..88.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; the Taylor series of e^r to degree 7 errs by less than
/// r^8/8! = 6e-9. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low mantissa bits.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with trailing zeros, so that n * LN2_HIGH is exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    p * f32::from_bits(n.wrapping_add(127) << 23)
}

/// The error function, absolute error below 3e-7: Abramowitz and Stegun, formula 7.1.26.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152_1;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_72;
    let p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

/// x * sigmoid(x), also called swish.
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// x * Phi(x) with the exact normal distribution, not the tanh approximation.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// x * sigmoid(1.702 x), as in OpenAI's CLIP.
#[inline(always)]
pub(super) fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

/// The sums of x - `centre` and of its square, added in f64 after each 512 numbers. A plain f32 sum over a VAE's groups
/// of a million numbers would lose three digits.
#[inline(always)]
pub(super) fn moments(x: &[f32], centre: f32) -> (f64, f64) {
    const LANES: usize = 16;
    let (mut total, mut total_square) = (0f64, 0f64);
    for block in x.chunks(512) {
        let (mut sum, mut square) = ([0f32; LANES], [0f32; LANES]);
        let mut lanes = block.chunks_exact(LANES);
        for lane in &mut lanes {
            for i in 0..LANES {
                let d = lane[i] - centre;
                sum[i] += d;
                square[i] += d * d;
            }
        }
        for (i, value) in lanes.remainder().iter().enumerate() {
            let d = value - centre;
            sum[i] += d;
            square[i] += d * d;
        }
        total += f64::from(sum.iter().sum::<f32>());
        total_square += f64::from(square.iter().sum::<f32>());
    }
    (total, total_square)
}

/// Turns a row of scores into probabilities.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32]) {
    const LANES: usize = 16;
    let mut peaks = [f32::NEG_INFINITY; LANES];
    let lanes = row.chunks_exact(LANES);
    let rest = lanes.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for lane in lanes {
        for i in 0..LANES {
            // `if` instead of `max` compiles to one instruction. A NaN is detected later, in the latents.
            peaks[i] = if lane[i] > peaks[i] { lane[i] } else { peaks[i] };
        }
    }
    let peak = peaks.iter().copied().fold(rest, f32::max);
    for value in row.iter_mut() {
        *value = exp(*value - peak);
    }
    let mut sums = [0f32; LANES];
    let lanes = row.chunks_exact(LANES);
    let rest: f32 = lanes.remainder().iter().sum();
    for lane in lanes {
        for i in 0..LANES {
            sums[i] += lane[i];
        }
    }
    let scale = 1.0 / (sums.iter().sum::<f32>() + rest);
    for value in row.iter_mut() {
        *value *= scale;
    }
}
