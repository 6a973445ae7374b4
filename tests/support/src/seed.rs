//! Where the chance of a test comes from.

/// The seed of a run: `usual`, so that each run of the tests does the same. A run that is longer or shorter than
/// usual, because the environment has the variable `length`, takes one from the clock.
pub fn seed(usual: u64, length: &str) -> u64 {
    match std::env::var_os(length) {
        None => usual,
        Some(_) => std::time::UNIX_EPOCH.elapsed().map_or(usual, |since| since.as_nanos() as u64),
    }
}
