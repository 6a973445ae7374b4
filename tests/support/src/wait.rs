//! Waits with a timeout.

use std::time::{Duration, Instant};

/// The timeout for events of one process or server that must come.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits until `condition` is true. Panics with `for_what` after `deadline`.
pub fn until(for_what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "waited {deadline:?} for {for_what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
