//! The progress of a job, passed from the pipeline's thread to the heartbeats.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use glimpse_shared::job;

use crate::pipeline::StepProgress;

/// The progress of one job: set after each step, read by each heartbeat.
#[derive(Debug, Clone, Default)]
pub struct StepsDone(Arc<AtomicU64>);

impl StepsDone {
    /// Records a step.
    pub fn set(&self, at: StepProgress) {
        // The number of steps is always below 2^32.
        self.0.store((at.step as u64) << 32 | at.steps as u64, Ordering::Relaxed);
    }

    /// `None` before the first step.
    pub(crate) fn progress(&self) -> Option<job::Progress> {
        let both = self.0.load(Ordering::Relaxed);
        let (done, steps) = ((both >> 32) as u32, both as u32);
        Some(job::Progress { step: done.checked_sub(1)?, steps })
    }
}

/// Whether both are the progress of the same job.
impl PartialEq for StepsDone {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
