//! Garbage, and what it may cost: damaged bytes, nasty JSON, broken pictures, a bound on memory.

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

/// The same cases in every run, so many of them; or other ones, as many as `PROPTEST_CASES` says, which
/// `PROPTEST_RNG_SEED` repeats.
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
    // A case may take a while: a smaller one than is found in this many milliseconds is not worth the wait.
    ProptestConfig { cases, rng_seed, max_shrink_time: 20_000, ..asked }
}

/// Runs a test on so many values, or as many as `PROPTEST_CASES` says, and panics with the smallest that fails: for a
/// test that borrows what is costly to make.
pub fn check<S: Strategy>(usual: u32, values: &S, test: impl Fn(S::Value) -> TestCaseResult) {
    let config = ProptestConfig { failure_persistence: None, ..cases(usual) };
    if let Err(error) = TestRunner::new(config).run(values, test) {
        panic!("{error}");
    }
}
