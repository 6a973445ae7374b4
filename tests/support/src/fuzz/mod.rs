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
    test_runner::{TestCaseResult, TestRunner},
};

/// So many cases, or as many as `PROPTEST_CASES` says.
pub fn cases(usual: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { usual };
    // A case may take a while: a smaller one than is found in this many milliseconds is not worth the wait.
    ProptestConfig { cases, max_shrink_time: 20_000, ..asked }
}

/// Runs a test on so many values, or as many as `PROPTEST_CASES` says, and panics with the smallest that fails: for a
/// test that borrows what is costly to make.
pub fn check<S: Strategy>(usual: u32, values: &S, test: impl Fn(S::Value) -> TestCaseResult) {
    let config = ProptestConfig { failure_persistence: None, ..cases(usual) };
    if let Err(error) = TestRunner::new(config).run(values, test) {
        panic!("{error}");
    }
}
