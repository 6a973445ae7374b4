//! The size of a picture that is made from an input picture.

/// Pixels that a side may have.
pub const SIDE: std::ops::RangeInclusive<u32> = 64..=2048;
/// Every side is a multiple of this: the side of one latent pixel.
pub const GRID: u32 = 8;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Size {
    pub(super) fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The multiple of [`GRID`] that is nearest to `side`.
    pub(super) fn nearest(side: f64) -> u32 {
        (side / f64::from(GRID)).round() as u32 * GRID
    }

    /// The output size for an input picture of this size. A missing side is computed from the aspect ratio. Without
    /// both sides the result is the nearest allowed size. If no allowed size has at most `most` pixels, the result has
    /// more.
    pub(super) fn made_from(self, width: Option<u32>, height: Option<u32>, most: u64) -> Self {
        match (width, height) {
            (Some(width), Some(height)) => Self { width, height },
            (Some(width), None) => Self { width, height: other(width, self.width, self.height, most) },
            (None, Some(height)) => Self { width: other(height, self.height, self.width, most), height },
            (None, None) => self.bounded(most),
        }
    }

    fn bounded(self, most: u64) -> Self {
        let own = Self { width: on_grid(self.width.into()), height: on_grid(self.height.into()) };
        if SIDE.contains(&own.width) && SIDE.contains(&own.height) && own.pixels() <= most {
            return own;
        }
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        let grow = (f64::from(*SIDE.start()) / width.min(height)).max(1.0);
        let (width, height) = (width * grow, height * grow);
        let by_side = f64::from(*SIDE.end()) / width.max(height);
        let shrink = by_side.min((most as f64 / (width * height)).sqrt()).min(1.0);
        let side = |side: f64| on_grid(side * shrink).clamp(*SIDE.start(), *SIDE.end());
        let bounded = Self { width: side(width), height: side(height) };
        // The aspect ratio is extreme and the short side is at its minimum: reduce the long side.
        if bounded.pixels() <= most {
            bounded
        } else if bounded.width > bounded.height {
            Self { width: longest(bounded.height, most), ..bounded }
        } else {
            Self { height: longest(bounded.width, most), ..bounded }
        }
    }
}

/// The other side for the side `given`, for a picture with the sides `along` and `across`.
fn other(given: u32, along: u32, across: u32, most: u64) -> u32 {
    let side = f64::from(given) * f64::from(across) / f64::from(along);
    Size::nearest(side).clamp(*SIDE.start(), *SIDE.end()).min(longest(given, most))
}

/// The longest other side with at most the given number of pixels.
fn longest(across: u32, most: u64) -> u32 {
    let longest = most / u64::from(across.max(1));
    on_grid(longest as f64).clamp(*SIDE.start(), *SIDE.end())
}

/// Rounds down to a multiple of [`GRID`]. A number slightly below a multiple becomes that multiple, because the
/// divisions above round.
fn on_grid(side: f64) -> u32 {
    (side + 1e-6) as u32 / GRID * GRID
}
