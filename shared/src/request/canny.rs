//! The edges of a ControlNet's picture.

use serde::{Deserialize, Serialize};

use super::fields::Fields;

/// The largest threshold: no gradient is larger.
pub const MAX_THRESHOLD: u64 = 2040;
/// The default of `low_threshold`.
pub const LOW_THRESHOLD: u64 = 100;
/// The default of `high_threshold`.
pub const HIGH_THRESHOLD: u64 = 200;

/// The thresholds of Canny's edges, of the sum of both absolute gradients by Sobel's 3x3 filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canny {
    low: u16,
    high: u16,
}

impl Canny {
    /// A gradient above it is an edge if an edge touches it.
    pub fn low(self) -> u16 {
        self.low
    }

    /// A gradient above it is an edge. Not below [`Canny::low`].
    pub fn high(self) -> u16 {
        self.high
    }
}

impl Fields {
    /// Reads `preprocess`, `low_threshold` and `high_threshold`.
    pub(super) fn canny(&mut self) -> Option<Canny> {
        let canny = self.one_of("preprocess", &[("canny", ())]);
        let thresholds = [("low_threshold", LOW_THRESHOLD), ("high_threshold", HIGH_THRESHOLD)];
        let [low, high] =
            thresholds.map(|(field, default)| (self.integer(field, 0, MAX_THRESHOLD), field, default));
        if canny.is_none() {
            for (given, field, _) in [low, high] {
                if let Some(given) = given {
                    let msg = "Input should come with \"preprocess\": \"canny\"";
                    self.wrong(field, "missing_preprocess", msg, &given.into());
                }
            }
            return None;
        }
        let is_low_given = low.0.is_some();
        let [low, high] = [low, high].map(|(given, _, default)| given.unwrap_or(default));
        // At a field that was given.
        if low > high && is_low_given {
            let msg = format!("Input should be at most high_threshold, which is {high}");
            self.wrong("low_threshold", "thresholds", msg, &low.into());
        } else if low > high {
            let msg = format!("Input should be at least low_threshold, which is {low}");
            self.wrong("high_threshold", "thresholds", msg, &high.into());
        }
        Some(Canny { low: low as u16, high: high as u16 })
    }
}
