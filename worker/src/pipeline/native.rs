//! The default size of a picture.

/// Width and height of a request are multiples of this, in pixels.
const GRID: u32 = 8;
/// The smallest width and height of a request, in pixels.
const SHORTEST: u32 = 64;

/// The model's training size, in pixels. If it has more than `most` pixels, the largest size of the same aspect ratio
/// within `most`. `most` is at least 64 x 64.
pub(super) fn size(width: u32, height: u32, most: u64) -> (u32, u32) {
    let pixels = u64::from(width) * u64::from(height);
    if pixels <= most {
        return (width, height);
    }
    let shrink = (most as f64 / pixels as f64).sqrt();
    // The division above rounds, so a number slightly below a multiple counts as that multiple.
    let on_grid = |side: f64| ((side + 1e-6) as u32 / GRID * GRID).max(SHORTEST);
    let (width, height) = (on_grid(f64::from(width) * shrink), on_grid(f64::from(height) * shrink));
    if u64::from(width) * u64::from(height) <= most {
        return (width, height);
    }
    // The short side is at its minimum: reduce the long side.
    let longest = on_grid(most as f64 / f64::from(SHORTEST));
    if width > height { (longest, SHORTEST) } else { (SHORTEST, longest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_native_size_within_the_limit_stays() {
        assert_eq!(size(1024, 1024, 1024 * 1024), (1024, 1024));
        assert_eq!(size(32, 40, 4096), (32, 40));
    }

    #[test]
    fn a_larger_size_keeps_its_aspect_ratio() {
        assert_eq!(size(1024, 1024, 1024 * 1024 - 1), (1016, 1016));
        assert_eq!(size(1024, 1024, 512 * 512), (512, 512));
        assert_eq!(size(1024, 1024, 64 * 64), (64, 64));
        assert_eq!(size(1024, 512, 500_000), (1000, 496));
        assert_eq!(size(512, 1024, 128 * 256), (128, 256));
    }

    #[test]
    fn every_limit_gives_a_valid_size_within_it() {
        for (width, height) in [(1024, 1024), (2048, 256), (128, 1536), (768, 1024), (1152, 896)] {
            for most in (64 * 64..=u64::from(width) * u64::from(height)).step_by(997) {
                let (w, h) = size(width, height, most);
                assert!(u64::from(w) * u64::from(h) <= most, "{width}x{height} within {most}: {w}x{h}");
                assert!(
                    w >= 64 && h >= 64 && w % 8 == 0 && h % 8 == 0,
                    "{width}x{height} within {most}: {w}x{h}"
                );
            }
        }
    }
}
