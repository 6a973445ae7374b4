//! Chance for waits: a fleet must not come back all in one moment.

use std::cell::RefCell;

use rand::{RngExt, SeedableRng, rngs::SmallRng};

thread_local! {
    static SEEDED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// Anything from 0 to 1.
pub fn fraction() -> f64 {
    SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map_or_else(rand::random, SmallRng::random))
}

/// The seed of another generator: any number.
pub fn bits() -> u64 {
    SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map_or_else(rand::random, SmallRng::random))
}

/// From now on this thread's fractions follow from `seed`: for a simulation, which must be able to do the same
/// again.
pub fn seed(seed: u64) {
    SEEDED.set(Some(SmallRng::seed_from_u64(seed)));
}
