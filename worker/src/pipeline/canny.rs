//! The edges of a picture by Canny (1986), pixel for pixel those of OpenCV's `Canny` with aperture 3 and without
//! `L2gradient`, of the grey picture by `cvtColor(.., COLOR_RGB2GRAY)`.

use super::picture::Rgb;

/// Weights of red, green and blue in a grey pixel, in fractions of 2^15.
const GREY: [u32; 3] = [9798, 19235, 3735];
/// tan(22.5 degrees) in fractions of 2^15.
const TAN_22: i64 = 13573;

/// The thresholds of the gradient, the sum of the absolute values of both of Sobel's filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeThresholds {
    /// A gradient above it is an edge if it touches one.
    pub low: u16,
    /// A gradient above it is an edge.
    pub high: u16,
}

/// What is known of a pixel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pixel {
    Plain,
    /// An edge if it touches one.
    Weak,
    Edge,
}

/// White edges on black.
pub(super) fn edges(picture: &Rgb, thresholds: EdgeThresholds) -> Rgb {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let gradients = Gradients::of(&grey(&picture.data), width, height);
    let mut pixels = vec![Pixel::Plain; width * height];
    let mut open = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let size = gradients.size(x as i64, y as i64);
            if size <= i32::from(thresholds.low) || !gradients.is_ridge(x, y) {
                continue;
            }
            let is_edge = size > i32::from(thresholds.high);
            pixels[y * width + x] = if is_edge { Pixel::Edge } else { Pixel::Weak };
            if is_edge {
                open.push((x, y));
            }
        }
    }
    while let Some((x, y)) = open.pop() {
        for near_y in y.saturating_sub(1)..(y + 2).min(height) {
            for near_x in x.saturating_sub(1)..(x + 2).min(width) {
                let pixel = &mut pixels[near_y * width + near_x];
                if *pixel == Pixel::Weak {
                    *pixel = Pixel::Edge;
                    open.push((near_x, near_y));
                }
            }
        }
    }
    let data = pixels.iter().flat_map(|pixel| [if *pixel == Pixel::Edge { 255 } else { 0 }; 3]).collect();
    Rgb { data, ..*picture }
}

fn grey(data: &[u8]) -> Vec<i32> {
    let pixel = |rgb: &[u8]| {
        let sum: u32 = rgb.iter().zip(GREY).map(|(value, weight)| u32::from(*value) * weight).sum();
        ((sum + (1 << 14)) >> 15) as i32
    };
    data.chunks_exact(3).map(pixel).collect()
}

/// Sobel's gradients. Outside of the picture its border goes on.
struct Gradients {
    width: usize,
    height: usize,
    /// Towards the right and towards the bottom.
    both: Vec<[i32; 2]>,
}

impl Gradients {
    fn of(grey: &[i32], width: usize, height: usize) -> Self {
        let mut both = Vec::with_capacity(grey.len());
        for y in 0..height {
            let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)].map(|y| &grey[y * width..][..width]);
            for x in 0..width {
                let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
                let at = |row: usize, column: usize| rows[row][columns[column]];
                let right = (at(0, 2) + 2 * at(1, 2) + at(2, 2)) - (at(0, 0) + 2 * at(1, 0) + at(2, 0));
                let down = (at(2, 0) + 2 * at(2, 1) + at(2, 2)) - (at(0, 0) + 2 * at(0, 1) + at(0, 2));
                both.push([right, down]);
            }
        }
        Self { width, height, both }
    }

    /// The size of the gradient; 0 outside of the picture.
    fn size(&self, x: i64, y: i64) -> i32 {
        let inside = (0..self.width as i64).contains(&x) && (0..self.height as i64).contains(&y);
        if !inside {
            return 0;
        }
        let [right, down] = self.both[y as usize * self.width + x as usize];
        right.abs() + down.abs()
    }

    /// Whether the gradient is larger than that of both neighbours in its direction, of four directions.
    fn is_ridge(&self, x: usize, y: usize) -> bool {
        let [right, down] = self.both[y * self.width + x];
        let (x, y) = (x as i64, y as i64);
        let size = self.size(x, y);
        let near = |dx: i64, dy: i64| self.size(x + dx, y + dy);
        let (across, along) = (i64::from(right.abs()), i64::from(down.abs()) << 15);
        let flat = across * TAN_22;
        if along < flat {
            return size > near(-1, 0) && size >= near(1, 0);
        }
        // tan(67.5 degrees) is 2 + tan(22.5 degrees).
        if along > flat + (across << 16) {
            return size > near(0, -1) && size >= near(0, 1);
        }
        let side = if (right ^ down) < 0 { -1 } else { 1 };
        size > near(-side, -1) && size > near(side, 1)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn the_edges_are_those_of_opencv() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/controlnets/canny.safetensors");
        let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let bytes = |tensor: &Tensor| -> Vec<u8> { tensor.flatten_all().unwrap().to_vec1().unwrap() };
        let mut compared = 0;
        for (name, expected) in tensors.iter().filter(|(name, _)| name.starts_with("edges.")) {
            let [_, number, low, high] = name.split('.').collect::<Vec<_>>()[..] else { panic!("{name}") };
            let picture = &tensors[&format!("picture.{number}")];
            let (height, width, _) = picture.dims3().unwrap();
            let picture = Rgb { width: width as u32, height: height as u32, data: bytes(picture) };
            let thresholds = EdgeThresholds { low: low.parse().unwrap(), high: high.parse().unwrap() };
            let found = edges(&picture, thresholds);
            let found: Vec<u8> = found.data.chunks_exact(3).map(|rgb| rgb[0]).collect();
            assert_eq!(found, bytes(expected), "{name}");
            compared += 1;
        }
        assert!(compared >= 8, "{compared}");
    }
}
