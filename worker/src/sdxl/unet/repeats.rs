//! When a step is recorded: at its second run with the same shapes and weights. The first run also loads kernels and
//! chooses algorithms, and a size that is asked for once is not worth a recording.

/// Counts the runs of equal keys.
#[derive(Debug)]
pub(super) struct Repeats<K> {
    newest: Option<K>,
    recorded: bool,
    given_up: bool,
}

/// What to do with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Run it; an older recording does not fit.
    Run,
    /// Run it and record it.
    Record,
    /// As the run before: replay what was recorded.
    Again,
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self { newest: None, recorded: false, given_up: false }
    }
}

impl<K: PartialEq> Repeats<K> {
    /// What to do with a run of this key.
    pub(super) fn next(&mut self, key: K) -> Next {
        if self.given_up || self.newest.as_ref() != Some(&key) {
            (self.newest, self.recorded) = (Some(key), false);
            return Next::Run;
        }
        if std::mem::replace(&mut self.recorded, true) { Next::Again } else { Next::Record }
    }

    /// Records no more.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_of_equal_runs_is_recorded_and_the_third_replayed() {
        let mut repeats = Repeats::default();
        let all: Vec<_> = [1, 1, 1, 2, 1, 1].into_iter().map(|key| repeats.next(key)).collect();
        use Next::{Again, Record, Run};
        assert_eq!(all, [Run, Record, Again, Run, Run, Record]);
    }

    #[test]
    fn after_giving_up_all_runs_run() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.next(1), Next::Run);
        repeats.give_up();
        assert_eq!([repeats.next(1), repeats.next(1)], [Next::Run; 2]);
    }
}
