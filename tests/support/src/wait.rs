//! Waiting for what must come.

use std::time::{Duration, Instant};

/// How long anything may take that must come, within one process or of one server, before a test fails.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks until the answer is yes; panics, saying what it waited `for_what`, when `deadline` has passed.
pub fn until(for_what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "waited {deadline:?} for {for_what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
