//! Chance that follows from a seed.

use std::{ops::Range, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// Draws, one after the other. Everybody who draws has one of their own, so that one's luck does not hang on
/// when another draws.
pub struct Chance(SmallRng);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Another's chance.
    pub fn split(&mut self) -> Self {
        Self(SmallRng::seed_from_u64(self.0.random()))
    }

    /// Whether something happens that happens that often.
    pub fn of(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    pub fn number(&mut self, range: Range<u64>) -> u64 {
        self.0.random_range(range)
    }

    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    /// Mostly short, sometimes long.
    pub fn about(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.0.random::<f64>()).ln())
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())]
    }
}
