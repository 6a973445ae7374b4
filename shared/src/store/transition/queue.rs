//! Into the queue, out of it, and back.

use std::{collections::VecDeque, time::Duration};

use super::{
    Change, Effect,
    state::{Claimed, Pace, Place, Record},
};
use crate::{
    event::{Event, Frame},
    id::{App, JobId},
    job::{Job, SeenWorker, Status, WorkerRecord},
    store::{Claim, Lease, Submit},
};

impl Change<'_> {
    pub(super) fn submit(&mut self, job: Job) -> Submit {
        if let Some(known) = self.state.jobs.get(&job.id) {
            return if known.job.digest == job.digest { Submit::Duplicate } else { Submit::Conflict };
        }
        if let Some(waiting) = self.full(&job.app) {
            return Submit::Full { waiting, pace: self.pace(&job.app) };
        }
        Submit::Submitted { position: self.enter(job) }
    }

    /// How many jobs of the app wait, if no more may.
    pub(super) fn full(&self, app: &App) -> Option<u64> {
        let waiting = self.state.queues.get(app).map_or(0, |queue| queue.len() as u64);
        (waiting >= self.rules.queue_limit).then_some(waiting)
    }

    /// How long the app's jobs take, if that was measured of late.
    pub(super) fn pace(&self, app: &App) -> Option<Duration> {
        self.state.pace.get(app).filter(|pace| self.now < pace.until).map(|pace| pace.mean)
    }

    /// A job of the app was completed that `took` so long.
    pub(super) fn measure(&mut self, app: App, took: Duration) {
        let mean =
            self.pace(&app).map_or(took.as_micros(), |mean| (mean.as_micros() * 7 + took.as_micros()) / 8);
        let pace =
            Pace { mean: Duration::from_micros(mean as u64), until: self.now.after(self.rules.pace_ttl) };
        self.state.pace.insert(app, pace);
    }

    /// Makes a new job and answers its position.
    pub(super) fn enter(&mut self, job: Job) -> u64 {
        let record = Record {
            status: Status::Queued,
            attempt: 0,
            faults: 0,
            worker: None,
            seq: Default::default(),
            step: None,
            first_preview: None,
            created_at: self.now,
            started_at: None,
            finished_at: None,
            lease_until: None,
            run_deadline: None,
            passed: 0,
            checkpoint: None,
            log: VecDeque::new(),
            job,
        };
        let id = record.job.id;
        self.state.jobs.insert(id, record);
        self.enqueue(id)
    }

    pub(super) fn try_claim(&mut self, claim: Claim) -> Option<Lease> {
        if let Some(known) = self.state.claims.get(&claim.worker)
            && self.now < known.until
            && claim.number <= known.number
        {
            let record = self.state.jobs.get(&known.job)?;
            let held = record.status == Status::Running
                && record.attempt == known.attempt
                && record.worker.as_ref() == Some(&claim.worker);
            return (claim.number == known.number && held).then(|| lease(record, &claim));
        }
        let id = self.choose(&claim)?;
        let record = self.state.jobs.get_mut(&id)?;
        let due = record.due();
        record.status = Status::Running;
        record.attempt += 1;
        record.worker = Some(claim.worker.clone());
        record.started_at.get_or_insert(self.now);
        record.run_deadline.get_or_insert(self.now.after(record.job.run_timeout));
        record.lease_until = Some(self.now.after(self.rules.lease));
        let (attempt, until) = (record.attempt, self.now.after(self.rules.lease));
        self.move_due(id, due);
        self.append(id, &Event::Started { attempt, worker: claim.worker.clone() });
        let claimed = Claimed { number: claim.number, job: id, attempt, until };
        self.state.claims.insert(claim.worker.clone(), claimed);
        if self.state.queues.get(&claim.app).is_some_and(|queue| !queue.is_empty()) {
            self.wake(&claim.app);
        }
        self.state.jobs.get(&id).map(|record| lease(record, &claim))
    }

    /// Takes the job that the worker gets out of its queue.
    fn choose(&mut self, claim: &Claim) -> Option<JobId> {
        let queue = self.state.queues.get_mut(&claim.app)?;
        let jobs = &mut self.state.jobs;
        let head = *queue.first()?;
        let loaded = claim.affinity.as_deref().unwrap_or_default();
        let suits = |(_, _, id): &&Place| {
            jobs.get(id).is_some_and(|record| record.job.affinity.as_deref().unwrap_or_default() == loaded)
        };
        let suitable = queue.iter().take(self.rules.affinity_reach).find(suits).copied();
        let (_, _, first) = head;
        let patient = jobs.get(&first).is_some_and(|record| record.passed < self.rules.passed_over);
        let chosen = suitable.filter(|_| patient).unwrap_or(head);
        queue.remove(&chosen);
        if let Some(record) = jobs.get_mut(&first).filter(|_| chosen != head) {
            record.passed += 1;
        }
        Some(chosen.2)
    }

    /// Puts a job that is `queued` into its queue, says so, and answers its position.
    pub(super) fn enqueue(&mut self, id: JobId) -> u64 {
        let Some(record) = self.state.jobs.get(&id) else { return 0 };
        let (app, place, due) = (record.job.app.clone(), record.place(), record.due());
        self.state.queues.entry(app.clone()).or_default().insert(place);
        self.state.due.insert((due, id));
        let position = self.state.jobs.get(&id).map_or(0, |record| self.state.position(record));
        self.append(id, &Event::Queued { position });
        self.wake(&app);
        position
    }

    /// Looks at the job at its new time, no longer at `old`.
    pub(super) fn move_due(&mut self, id: JobId, old: crate::id::Micros) {
        self.state.due.remove(&(old, id));
        if let Some(record) = self.state.jobs.get(&id) {
            self.state.due.insert((record.due(), id));
        }
    }

    /// The next entry of a job's log.
    pub(super) fn append(&mut self, id: JobId, event: &Event) {
        let Some(record) = self.state.jobs.get(&id) else { return };
        self.append_frame(id, Frame::new(record.seq.next(), event));
    }

    pub(super) fn append_frame(&mut self, id: JobId, frame: Frame) {
        let Some(record) = self.state.jobs.get_mut(&id) else { return };
        debug_assert_eq!(frame.seq, record.seq.next());
        record.seq = frame.seq;
        record.log.push_back(frame.clone());
        self.effects.push(Effect::Appended(id, frame));
    }

    pub(super) fn wake(&mut self, app: &App) {
        if self.state.wake.insert(app.clone()) {
            self.effects.push(Effect::Woken(app.clone()));
        }
    }

    pub(super) fn heartbeat(&mut self, record: WorkerRecord) {
        let (now, known) = (self.now, self.rules.worker_known);
        self.state.workers.retain(|_, seen| now.since(seen.last_seen) <= known);
        self.state.workers.insert(record.id.clone(), SeenWorker { record, last_seen: now });
    }
}

fn lease(record: &Record, claim: &Claim) -> Lease {
    Lease {
        job: record.job.clone(),
        attempt: record.attempt,
        worker: claim.worker.clone(),
        checkpoint: record.checkpoint.clone(),
        seq: record.seq,
    }
}
