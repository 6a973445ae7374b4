//! Commands of a worker for a job that it holds.

use super::{Change, Fence, Outcome};
use crate::{
    event::{EventKind, Frame},
    id::Seq,
    job::{Release, Status},
    store::{Checkpoint, Finish, Hold, Released},
};

impl Change<'_> {
    pub(super) fn renew(&mut self, fence: &Fence, checkpoint: Option<Checkpoint>) -> Hold {
        let hold = self.hold(fence);
        if hold.is_held() {
            self.extend(fence);
            if let Some(record) = self.state.jobs.get_mut(&fence.id).filter(|_| checkpoint.is_some()) {
                record.checkpoint = checkpoint;
            }
        }
        hold
    }

    pub(super) fn publish(
        &mut self,
        fence: &Fence,
        frame: Frame,
        step: u32,
        partial: Option<u32>,
    ) -> Outcome {
        let hold = self.hold(fence);
        let Some(record) = self.state.jobs.get_mut(&fence.id).filter(|_| hold.is_held()) else {
            return Outcome::Publish(hold, Seq::default());
        };
        if partial.is_some_and(|index| record.partials.contains(&index)) {
            return Outcome::Publish(hold, record.seq);
        }
        if frame.seq != record.seq.next() {
            // A preview is out of date by now, but a partial picture must be written.
            return match partial {
                Some(_) => Outcome::Renumber(record.seq.next()),
                None => Outcome::Publish(hold, record.seq),
            };
        }
        let seq = frame.seq;
        record.step = Some(step);
        if let Some(index) = partial {
            record.partials.insert(index);
        } else {
            let first = *record.first_preview.get_or_insert(seq);
            if let Some(old) = seq.0.checked_sub(self.rules.previews_kept).filter(|old| *old >= first.0) {
                record.log.retain(|kept| kept.seq != Seq(old) || kept.kind == EventKind::Partial);
            }
        }
        self.append_frame(fence.id, frame);
        self.extend(fence);
        Outcome::Publish(hold, seq)
    }

    pub(super) fn finish(&mut self, fence: &Fence, frame: Frame, status: Status) -> Outcome {
        match self.hold(fence) {
            Hold::Held | Hold::FinishEarly(_) => {}
            Hold::Cancelled => return Outcome::Finish(Finish::Cancelled),
            Hold::Lost => {
                // Only a finish leaves the worker's name on an ended job, so this is a repeated finish.
                let again = self.state.jobs.get(&fence.id).is_some_and(|record| {
                    record.status.is_terminal()
                        && record.attempt == fence.attempt
                        && record.worker.as_ref() == Some(&fence.worker)
                });
                return Outcome::Finish(if again { Finish::Finished } else { Finish::Lost });
            }
        }
        let Some(record) = self.state.jobs.get(&fence.id) else { return Outcome::Finish(Finish::Lost) };
        if frame.seq != record.seq.next() {
            return Outcome::Renumber(record.seq.next());
        }
        let (app, started_at) = (record.job.app.clone(), record.started_at);
        self.end(fence.id, status, frame, self.rules.ended_ttl);
        if let Some(at) = started_at.filter(|_| status == Status::Completed) {
            self.measure(app, self.now.since(at));
        }
        Outcome::Finish(Finish::Finished)
    }

    pub(super) fn release(&mut self, fence: &Fence, release: Release) -> Released {
        match self.hold(fence) {
            Hold::Held | Hold::FinishEarly(_) => {
                let reason = match release {
                    Release::Drain => None,
                    Release::Fault(reason) => Some(reason),
                };
                if let Some(record) = self.state.jobs.get_mut(&fence.id).filter(|_| reason.is_some()) {
                    record.checkpoint = None;
                }
                self.give_back(fence.id, reason);
                Released::Released
            }
            Hold::Cancelled => Released::Cancelled,
            Hold::Lost => Released::Lost,
        }
    }

    /// Whether the worker holds the job.
    fn hold(&self, fence: &Fence) -> Hold {
        match self.state.jobs.get(&fence.id) {
            Some(record) if record.status == Status::Cancelled => Hold::Cancelled,
            Some(record)
                if record.status == Status::Running
                    && record.attempt == fence.attempt
                    && record.worker.as_ref() == Some(&fence.worker) =>
            {
                Hold::holding(record.finish_early)
            }
            _ => Hold::Lost,
        }
    }

    fn extend(&mut self, fence: &Fence) {
        let Some(record) = self.state.jobs.get_mut(&fence.id) else { return };
        let due = record.due();
        record.lease_until = Some(self.now.after(self.rules.lease));
        self.move_due(fence.id, due);
    }
}
