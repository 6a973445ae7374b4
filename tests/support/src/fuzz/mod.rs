//! Invalid data for fuzz tests: damaged bytes, changed JSON, broken pictures; and a limit on memory.

mod bytes;
mod json;
mod memory;
pub mod pictures;

pub use bytes::{Damage, damage, damages};
pub use json::{Change, change, changes, numbers};
pub use memory::{alone, within};

use proptest::{
    prelude::{ProptestConfig, Strategy},
    test_runner::{RngSeed, TestCaseResult, TestRunner},
};

use crate::seed;

/// The configuration for `usual` cases, the same ones in every run. `PROPTEST_CASES` sets another number of random
/// cases, which `PROPTEST_RNG_SEED` repeats.
#[expect(clippy::print_stdout, reason = "the test harness shows it when a test fails")]
pub fn cases(usual: u32) -> ProptestConfig {
    const LENGTH: &str = "PROPTEST_CASES";
    let asked = ProptestConfig::default();
    let cases = if std::env::var_os(LENGTH).is_some() { asked.cases } else { usual };
    let rng_seed = match asked.rng_seed {
        RngSeed::Random => RngSeed::Fixed(seed(0, LENGTH)),
        given => given,
    };
    println!("PROPTEST_CASES={cases} PROPTEST_RNG_SEED={rng_seed}");
    // A case may take long, so the search for a smaller case is limited to this many milliseconds.
    ProptestConfig { cases, rng_seed, max_shrink_time: 20_000, ..asked }
}

/// Runs a test on `usual` values, or on `PROPTEST_CASES`, and panics with the smallest value that fails. For tests that
/// borrow something expensive.
pub fn check<S: Strategy>(usual: u32, values: &S, test: impl Fn(S::Value) -> TestCaseResult) {
    let config = ProptestConfig { failure_persistence: None, ..cases(usual) };
    if let Err(error) = TestRunner::new(config).run(values, test) {
        panic!("{error}");
    }
}
