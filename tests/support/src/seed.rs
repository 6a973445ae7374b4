//! The seed of a test's random numbers.

/// The seed of a run: `usual`, so that each run does the same. If the environment variable `length` changes the length
/// of the run, the seed comes from the clock.
pub fn seed(usual: u64, length: &str) -> u64 {
    match std::env::var_os(length) {
        None => usual,
        Some(_) => std::time::UNIX_EPOCH.elapsed().map_or(usual, |since| since.as_nanos() as u64),
    }
}
