//! Random numbers that follow from a seed.

use std::{ops::Range, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// A random number generator. Each part of the simulation has its own, so that its draws do not depend on when another
/// part draws.
pub struct Chance(SmallRng);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// A generator for another part.
    pub fn split(&mut self) -> Self {
        Self(SmallRng::seed_from_u64(self.0.random()))
    }

    /// Whether an event of this probability happens.
    pub fn of(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    pub fn number(&mut self, range: Range<u64>) -> u64 {
        self.0.random_range(range)
    }

    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    /// A time that is usually short, sometimes long.
    pub fn about(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.0.random::<f64>()).ln())
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())]
    }
}
