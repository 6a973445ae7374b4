//! Pillow's Lanczos resize of pictures with 8 bits per channel, bit for bit: diffusers resizes pictures with it. Each
//! axis is one pass with weights in fixed point, rows first (Pillow's `src/libImaging/Resample.c`).

/// Fraction bits of a weight: 32 bits less those of a pixel and two for the sum.
const FRACTION: u32 = 32 - 8 - 2;
/// Half the width of the filter, in source pixels, if the picture is not made smaller.
const SUPPORT: f64 = 3.0;
/// Channels of a pixel.
const CHANNELS: usize = 3;

/// The source pixels of one target pixel, and their weights.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

/// A picture of `from` (width, height), 3 bytes per pixel, in the size `to`.
pub(super) fn resize(data: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let ((width, height), (new_width, new_height)) = (from, to);
    let mut rows = Vec::with_capacity(new_width * height * CHANNELS);
    if width == new_width {
        rows.extend_from_slice(data);
    } else {
        let windows = windows(width, new_width);
        for row in data.chunks_exact(width * CHANNELS) {
            for Window { first, weights } in &windows {
                for channel in 0..CHANNELS {
                    let pixels = row[first * CHANNELS + channel..].iter().step_by(CHANNELS);
                    rows.push(weighted(pixels, weights));
                }
            }
        }
    }
    if height == new_height {
        return rows;
    }
    let stride = new_width * CHANNELS;
    let mut out = Vec::with_capacity(stride * new_height);
    for Window { first, weights } in windows(height, new_height) {
        for column in 0..stride {
            out.push(weighted(rows[first * stride + column..].iter().step_by(stride), &weights));
        }
    }
    out
}

fn weighted<'a>(pixels: impl Iterator<Item = &'a u8>, weights: &[i32]) -> u8 {
    let sum: i32 = pixels.zip(weights).map(|(pixel, weight)| i32::from(*pixel) * weight).sum();
    ((sum + (1 << (FRACTION - 1))) >> FRACTION).clamp(0, 255) as u8
}

/// The windows of all target pixels along one axis.
fn windows(from: usize, to: usize) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    let window = |target: usize| {
        let center = (target as f64 + 0.5) * scale;
        // A cast cuts off the fraction, and makes negative numbers 0.
        let first = (center - support + 0.5) as usize;
        let last = ((center + support + 0.5) as usize).min(from);
        let weights: Vec<f64> =
            (first..last).map(|source| lanczos((source as f64 - center + 0.5) * stretch.recip())).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| {
            let weight = if sum == 0.0 { *weight } else { weight / sum } * f64::from(1 << FRACTION);
            (weight + 0.5_f64.copysign(weight)) as i32
        };
        Window { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..to).map(window).collect()
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| {
        let x = x * std::f64::consts::PI;
        if x == 0.0 { 1.0 } else { x.sin() / x }
    };
    if (-SUPPORT..SUPPORT).contains(&x) { sinc(x) * sinc(x / SUPPORT) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Image.fromarray(..).resize(.., Image.LANCZOS)` of Pillow 13.0.0, of a picture by the same formula.
    #[test]
    fn the_bytes_are_those_of_pillow() {
        let picture = |width: usize, height: usize| -> Vec<u8> {
            let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            pixels
                .flat_map(|(x, y)| [x * 37 + y * 11, x * y * 13, (x + 2 * y) * 29].map(|v| v as u8))
                .collect()
        };
        for (from, to, expected) in [
            ((7, 5), (16, 11), 608_112_346),
            ((83, 61), (40, 48), 250_515_016),
            ((40, 48), (40, 17), 745_434_359),
            ((30, 20), (64, 20), 887_294_775),
            ((200, 3), (9, 40), 590_577_595),
            ((16, 16), (8, 8), 650_065_258),
        ] {
            let resized = resize(&picture(from.0, from.1), from, to);
            assert_eq!(resized.len(), to.0 * to.1 * CHANNELS);
            let digest = resized.iter().fold(0u64, |sum, byte| (sum * 31 + u64::from(*byte)) % 1_000_000_007);
            assert_eq!(digest, expected, "{from:?} to {to:?}");
        }
    }
}
