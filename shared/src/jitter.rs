//! Random fractions for waits, so that the processes of a fleet do not all retry at once.

use std::cell::RefCell;

use rand::{RngExt, SeedableRng, rngs::SmallRng};

thread_local! {
    static SEEDED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// A random number from 0 to 1.
pub fn fraction() -> f64 {
    SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map_or_else(rand::random, SmallRng::random))
}

/// A random seed for another random number generator.
pub fn bits() -> u64 {
    SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map_or_else(rand::random, SmallRng::random))
}

/// Seeds this thread's generator, for repeatable simulations.
pub fn seed(seed: u64) {
    SEEDED.set(Some(SmallRng::seed_from_u64(seed)));
}
