//! Requests to finish a running job with the picture that it has.

use super::{Change, Effect};
use crate::{id::JobId, job::Status, store::FinishEarly};

impl Change<'_> {
    /// Notes the step at which it was asked first: an attempt that starts over does not finish before that step.
    pub(super) fn finish_early(&mut self, id: JobId) -> FinishEarly {
        let Some(record) = self.state.jobs.get_mut(&id) else { return FinishEarly::Unknown };
        if record.status.is_terminal() {
            return FinishEarly::AlreadyDone(record.status);
        }
        if record.finish_early.is_some() {
            return FinishEarly::Asked;
        }
        // The steps of a job without previews are not known here: its worker finishes after its first one.
        let unseen = (!record.job.spec.has_previews()).then_some(0);
        let step = record.step.or(unseen).filter(|_| record.status == Status::Running);
        let Some(step) = step else { return FinishEarly::TooEarly };
        record.finish_early = Some(step);
        self.effects.push(Effect::FinishEarly(record.job.app.clone(), id, step));
        FinishEarly::Asked
    }
}
