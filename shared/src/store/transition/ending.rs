//! Ends jobs, and requeues the jobs of lost workers.

use std::time::Duration;

use super::{Change, Effect, ReapOutcome};
use crate::{
    event::{CancelledBy, Event, EventKind, FailureCode, Frame},
    id::{JobId, Micros},
    job::{Status, exhausted_message},
    store::Cancel,
};

/// The reason in the message when a lease expired.
pub const WORKER_LOST: &str = "the worker was lost";
/// The message of `start_timeout`.
pub const START_TIMEOUT: &str = "no worker took the job in time";
/// The message of `run_timeout`.
pub const RUN_TIMEOUT: &str = "the job was not done in time";

impl Change<'_> {
    pub(super) fn cancel(&mut self, id: JobId, by: CancelledBy) -> Cancel {
        let Some(record) = self.state.jobs.get(&id) else { return Cancel::Unknown };
        if record.status.is_terminal() {
            return Cancel::AlreadyDone(record.status);
        }
        let (app, was, frame) =
            (record.job.app.clone(), record.status, Frame::new(record.seq.next(), &Event::Cancelled { by }));
        self.end(id, Status::Cancelled, frame, self.rules.ended_ttl);
        if was == Status::Running {
            self.effects.push(Effect::CancelledRunning(app, id));
        }
        Cancel::Cancelled
    }

    pub(super) fn reap(&mut self, id: JobId, seen: Micros) -> ReapOutcome {
        if self.now.since(seen) > self.rules.reap_within {
            return ReapOutcome::Nothing;
        }
        let Some(record) = self.state.jobs.get(&id) else { return ReapOutcome::Nothing };
        if record.status.is_terminal() || record.due() > self.now {
            return ReapOutcome::Nothing;
        }
        match record.run_deadline {
            None => self.fail(id, FailureCode::StartTimeout, START_TIMEOUT.to_owned(), self.rules.ended_ttl),
            Some(run) if run <= self.now => {
                self.fail(id, FailureCode::RunTimeout, RUN_TIMEOUT.to_owned(), self.rules.ended_ttl);
            }
            Some(_) => return self.give_back(id, Some(WORKER_LOST.to_owned())),
        }
        ReapOutcome::Ended
    }

    /// Takes a running job from its worker and requeues it in its old place. A `fault` counts as an attempt; after the
    /// last one the job is dead.
    pub(super) fn give_back(&mut self, id: JobId, fault: Option<String>) -> ReapOutcome {
        let Some(record) = self.state.jobs.get_mut(&id) else { return ReapOutcome::Nothing };
        record.faults += u32::from(fault.is_some());
        if let Some(reason) = fault
            && record.faults >= self.rules.attempts
        {
            let (code, message) = exhausted_message(record.faults, &reason);
            self.fail(id, code, message, self.rules.dead_ttl);
            self.add_to_dead_list(id);
            return ReapOutcome::Ended;
        }
        let due = record.due();
        if let Some(first) = record.first_preview.take() {
            record.log.retain(|frame| frame.seq < first || frame.kind == EventKind::Partial);
        }
        record.status = Status::Queued;
        record.worker = None;
        record.step = None;
        record.lease_until = None;
        self.state.due.remove(&(due, id));
        self.enqueue(id);
        ReapOutcome::GivenBack
    }

    fn fail(&mut self, id: JobId, code: FailureCode, message: String, ttl: Duration) {
        let Some(record) = self.state.jobs.get_mut(&id) else { return };
        record.worker = None;
        let frame = Frame::new(record.seq.next(), &Event::Failed { code, message });
        self.end(id, Status::Failed, frame, ttl);
    }

    /// Ends a job: sets its status, keeps only its partial pictures and the terminal event in its log, and makes the
    /// delivery of its webhook due. `ttl` is its time to live.
    pub(super) fn end(&mut self, id: JobId, status: Status, frame: Frame, ttl: Duration) {
        let Some(record) = self.state.jobs.get_mut(&id) else { return };
        self.state.due.remove(&(record.due(), id));
        if let Some(queue) = self.state.queues.get_mut(&record.job.app) {
            queue.remove(&record.place());
        }
        record.status = status;
        record.finished_at = Some(self.now);
        record.lease_until = None;
        record.checkpoint = None;
        record.log.retain(|frame| frame.kind == EventKind::Partial);
        let ttl = self.begin_delivery(id, ttl);
        self.expire_after(id, ttl);
        self.append_frame(id, frame);
    }

    /// Sets the expiry of an ended job.
    pub(super) fn expire_after(&mut self, id: JobId, ttl: Duration) {
        let Some(record) = self.state.jobs.get_mut(&id) else { return };
        let at = self.now.after(ttl);
        if let Some(before) = record.expires_at.replace(at) {
            self.state.expiry.remove(&(before, id));
        }
        self.state.expiry.insert((at, id));
    }

    pub(super) fn forget(&mut self, id: JobId) {
        let ended = self.state.jobs.get(&id).filter(|record| record.status.is_terminal());
        let Some(record) = ended else { return };
        let (partition, finished_at) = (record.job.app.partition(), record.finished_at);
        self.end_delivery(id);
        if let Some(at) = finished_at {
            self.remove_from_dead_list(partition, at, id);
        }
        if let Some(record) = self.state.jobs.remove(&id) {
            if let Some(at) = record.expires_at {
                self.state.expiry.remove(&(at, id));
            }
            self.unlist(&record);
        }
        self.effects.push(Effect::Forgotten(id));
    }
}
