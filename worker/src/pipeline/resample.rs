//! Resizes pictures with the numbers of Pillow's `Image.resize` (`src/libImaging/Resample.c` of version 13): a filter
//! over columns, then over rows, each rounded to 8 bits.

/// Fractional bits of a weight.
const BITS: u32 = 32 - 8 - 2;

/// A filter, stretched where a picture becomes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// Three lobes of a windowed sinc.
    Lanczos,
    /// Keys' cubic with a = -0.5.
    Bicubic,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        match self {
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
            Self::Bicubic => {
                const A: f64 = -0.5;
                match x.abs() {
                    x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                    x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                    _ => 0.0,
                }
            }
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// The input that one output needs: its first index, and the weights in fixed point.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of `out` outputs over the part `from..to` of `size` inputs.
fn taps(size: usize, (from, to): (f64, f64), out: usize, filter: Filter) -> Vec<Taps> {
    let scale = (to - from) / out as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let tap = |i: usize| {
        let center = from + (i as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5).max(0.0) as usize).min(size);
        let weights: Vec<f64> =
            (first..end).map(|x| filter.at((x as f64 - center + 0.5) * (1.0 / stretch))).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: f64| {
            let weight = if sum == 0.0 { weight } else { weight / sum } * f64::from(1 << BITS);
            (if weight < 0.0 { weight - 0.5 } else { weight + 0.5 }) as i32
        };
        Taps { first, weights: weights.into_iter().map(fixed).collect() }
    };
    (0..out).map(tap).collect()
}

/// A part of a picture, in pixels: left, top, right, bottom.
pub(super) type Part = (f64, f64, f64, f64);

/// The part of an RGB picture of `size` (width, height) in another size. `data` has `3 * width * height` bytes.
pub(super) fn resize(
    data: &[u8],
    size: (usize, usize),
    part: Part,
    to: (usize, usize),
    filter: Filter,
) -> Vec<u8> {
    let ((width, height), (out_width, out_height)) = (size, to);
    let (left, top, right, bottom) = part;
    let sum = |weights: &[i32], value: &dyn Fn(usize) -> u8| {
        let start = 1i32 << (BITS - 1);
        let sum = weights.iter().enumerate().fold(start, |sum, (i, w)| sum + w * i32::from(value(i)));
        (sum >> BITS).clamp(0, 255) as u8
    };
    let columns = if out_width == width && left == 0.0 && right == width as f64 {
        data.to_vec()
    } else {
        let taps = taps(width, (left, right), out_width, filter);
        let mut out = Vec::with_capacity(3 * out_width * height);
        for row in data.chunks_exact(3 * width) {
            for Taps { first, weights } in &taps {
                out.extend((0..3).map(|c| sum(weights, &|i| row[3 * (first + i) + c])));
            }
        }
        out
    };
    if out_height == height && top == 0.0 && bottom == height as f64 {
        return columns;
    }
    let row = 3 * out_width;
    let mut out = Vec::with_capacity(row * out_height);
    for Taps { first, weights } in taps(height, (top, bottom), out_height, filter) {
        out.extend((0..row).map(|x| sum(&weights, &|i| columns[(first + i) * row + x])));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small picture whose bytes follow a rule that Python can follow too.
    fn picture(width: usize, height: usize) -> Vec<u8> {
        let pixel = |x: usize, y: usize| [x * 37 + y * 11, x * y * 7, 255 * ((x + y) % 2)];
        (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y).map(|v| (v % 256) as u8))).collect()
    }

    fn checksum(data: &[u8]) -> u64 {
        data.iter().fold(0, |sum, byte| (sum * 31 + u64::from(*byte)) % 1_000_000_007)
    }

    #[test]
    fn resized_pictures_are_those_of_pillow() {
        let whole = (0.0, 0.0, 13.0, 9.0);
        // Pillow 13's, in Python.
        for (part, to, filter, expected) in [
            (whole, (24, 16), Filter::Lanczos, 883_930_731),
            (whole, (7, 16), Filter::Lanczos, 754_611_670),
            (whole, (5, 4), Filter::Bicubic, 953_419_089),
            ((0.0, 0.0, 13.0, 0.0), (13, 3), Filter::Bicubic, 817_586_418),
            ((13.0, 0.0, 13.0, 9.0), (2, 9), Filter::Bicubic, 193_988_732),
        ] {
            let resized = resize(&picture(13, 9), (13, 9), part, to, filter);
            assert_eq!(checksum(&resized), expected, "{part:?} to {to:?} with {filter:?}");
        }
    }
}
