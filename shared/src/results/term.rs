//! How long a kept picture can be read.

use std::time::Duration;

use super::name::Name;
use crate::id::Micros;

/// The share of the time to live that is added to it, within the bounds below. It covers the time between the write and
/// the end of the job, and clocks that differ.
const SLACK_SHARE: u32 = 10;
const LEAST_SLACK: Duration = Duration::from_secs(2);
const MOST_SLACK: Duration = Duration::from_secs(5 * 60);

/// The time to live of kept pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) ttl: Duration,
}

impl Term {
    /// What is added to the time to live.
    fn slack(self) -> Duration {
        (self.ttl / SLACK_SHARE).clamp(LEAST_SLACK, MOST_SLACK)
    }

    /// When a picture is deleted.
    pub(super) fn ends(self, name: &Name) -> Micros {
        self.ends_if_written(name.written())
    }

    /// When a picture that was written at this time is deleted.
    pub(super) fn ends_if_written(self, written: Micros) -> Micros {
        written.after(self.ttl).after(self.slack())
    }

    /// Whether a picture is so new that a job which ends now can be told of it: it will be there for the whole time to
    /// live.
    pub(super) fn is_fresh(self, name: &Name, now: Micros) -> bool {
        now.since(name.written()) < self.slack() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::OutputFormat;

    #[test]
    fn a_fresh_picture_lives_for_the_whole_time_to_live() {
        let written = Micros(1_800_000_000_000_000);
        let name = Name::new(written, OutputFormat::Png);
        for seconds in [1, 5, 60, 3600, 86_400, 31_536_000] {
            let ttl = Duration::from_secs(seconds);
            let term = Term { ttl };
            let told = (0..1000).map(|at| written.after(Duration::from_millis(at * 500)));
            for told in told.filter(|told| term.is_fresh(&name, *told)) {
                assert!(term.ends(&name) > told.after(ttl));
            }
            assert!(term.is_fresh(&name, written.after(Duration::from_millis(900))));
            assert!(term.ends(&name) <= written.after(ttl + MOST_SLACK.min(ttl / 10 + LEAST_SLACK)));
        }
    }
}
