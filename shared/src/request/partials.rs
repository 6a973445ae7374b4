//! The steps that have a partial picture.

use serde::{Deserialize, Serialize};

/// How many partial pictures a job has: previews after steps that are spread evenly over the run. No newer preview
/// replaces them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partials(pub(super) u32);

impl Partials {
    /// The most partial pictures of a job.
    pub const MOST: u32 = 3;

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// The index of the partial picture after the 0-based step `step` of `steps`, if there is one. Each of n pictures
    /// has its own step if there are as many steps: number i comes when (i + 1) / (n + 1) of the steps are done.
    pub fn index_after(self, step: u32, steps: u32) -> Option<u32> {
        let pictures = self.0.min(steps);
        let done = u64::from(step) + 1;
        let due = |index: &u32| (u64::from(*index) + 1) * u64::from(steps);
        (0..pictures).find(|index| due(index).div_ceil(u64::from(pictures) + 1) == done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps, counted from 1, after which there is a partial picture.
    fn after(pictures: u32, steps: u32) -> Vec<u32> {
        let indices =
            (0..steps).filter_map(|step| Some((step + 1, Partials(pictures).index_after(step, steps)?)));
        let (after, indices): (Vec<_>, Vec<_>) = indices.unzip();
        assert_eq!(indices, (0..after.len() as u32).collect::<Vec<_>>(), "{pictures} of {steps}");
        after
    }

    #[test]
    fn partial_pictures_are_spread_over_the_run() {
        assert_eq!(after(3, 20), [5, 10, 15]);
        assert_eq!(after(2, 20), [7, 14]);
        assert_eq!(after(1, 20), [10]);
        assert_eq!(after(0, 20), [0; 0]);
        assert_eq!(after(3, 4), [1, 2, 3]);
    }

    #[test]
    fn there_are_fewer_only_if_there_are_fewer_steps() {
        for pictures in 0..=Partials::MOST {
            for steps in 0..=150 {
                assert_eq!(after(pictures, steps).len() as u32, pictures.min(steps), "{pictures} of {steps}");
            }
        }
    }
}
