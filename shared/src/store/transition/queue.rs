//! Submits, claims and the queue.

use std::{collections::VecDeque, time::Duration};

use super::{
    Change, Effect,
    state::{Claimed, Pace, Record},
};
use crate::{
    event::{Event, Frame},
    id::{App, JobId},
    job::{Job, SeenWorker, Status, WorkerRecord},
    store::{Claim, Lease, Quota, Submit},
};

impl Change<'_> {
    pub(super) fn submit(&mut self, job: Job, quota: Quota) -> Submit {
        if let Some(known) = self.state.jobs.get(&job.id) {
            return if known.job.digest == job.digest { Submit::Duplicate } else { Submit::Conflict };
        }
        if let Some(most) = quota.unfinished {
            let unfinished = self.state.unfinished(&job.tenant);
            if unfinished >= most.get().into() {
                return Submit::Crowded { unfinished, pace: self.pace(&job.app) };
            }
        }
        if let Some(waiting) = self.full(&job.app) {
            return Submit::Full { waiting, pace: self.pace(&job.app) };
        }
        Submit::Submitted { position: self.enter(job) }
    }

    /// The number of waiting jobs of the app, if its queue is full.
    pub(super) fn full(&self, app: &App) -> Option<u64> {
        let waiting = self.state.queues.get(app).map_or(0, |queue| queue.len() as u64);
        (waiting >= self.rules.queue_limit).then_some(waiting)
    }

    /// The mean time of the app's jobs, if one was completed recently.
    pub(super) fn pace(&self, app: &App) -> Option<Duration> {
        self.state.pace.get(app).filter(|pace| self.now < pace.until).map(|pace| pace.mean)
    }

    /// Updates the mean time of the app's jobs with one that was completed.
    pub(super) fn measure(&mut self, app: App, took: Duration) {
        let mean =
            self.pace(&app).map_or(took.as_micros(), |mean| (mean.as_micros() * 7 + took.as_micros()) / 8);
        let pace =
            Pace { mean: Duration::from_micros(mean as u64), until: self.now.after(self.rules.pace_ttl) };
        self.state.pace.insert(app, pace);
    }

    /// Creates a job and returns its position.
    pub(super) fn enter(&mut self, job: Job) -> u64 {
        let start_tag = self.start_tag(&job);
        let record = Record {
            status: Status::Queued,
            attempt: 0,
            faults: 0,
            worker: None,
            seq: Default::default(),
            step: None,
            first_preview: None,
            partials: Default::default(),
            created_at: self.now,
            start_tag,
            started_at: None,
            finished_at: None,
            lease_until: None,
            run_deadline: None,
            passed: 0,
            finish_early: None,
            checkpoint: None,
            log: VecDeque::new(),
            expires_at: None,
            delivery: None,
            job,
        };
        let id = record.job.id;
        self.list(&record.job);
        self.state.jobs.insert(id, record);
        self.enqueue(id)
    }

    /// The start of a new job in the virtual time of its queue.
    fn start_tag(&mut self, job: &Job) -> u64 {
        let rank = job.class.rank();
        let mut waiting = self.state.queues.get(&job.app).into_iter().flatten();
        let idle = !waiting.any(|place| place.0 == rank);
        self.state.fair.entry((job.app.clone(), rank)).or_default().enter(job, idle, self.now)
    }

    pub(super) fn try_claim(&mut self, claim: Claim) -> Option<Lease> {
        self.look(&claim.app, &claim.capabilities);
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
        if self.state.waiting_for(&claim).next().is_some() {
            self.wake(&claim.app, Some(claim.capabilities.clone()));
        }
        self.state.jobs.get(&id).map(|record| lease(record, &claim))
    }

    /// Chooses a job that the worker is capable of, and removes it from the queue.
    fn choose(&mut self, claim: &Claim) -> Option<JobId> {
        let few = self.rules.affinity_reach.max(1);
        let waiting: Vec<_> = self.state.waiting_for(claim).take(few).collect();
        let head = *waiting.first()?;
        let loaded = claim.affinity.as_deref().unwrap_or_default();
        let suits = |record: &&Record| record.job.affinity.as_deref().unwrap_or_default() == loaded;
        let patient = head.passed < self.rules.passed_over;
        let chosen = waiting.iter().copied().find(suits).filter(|_| patient).unwrap_or(head);
        let (rank, start, _) = head.place();
        let (head, chosen, place) = (head.job.id, chosen.job.id, chosen.place());
        if let Some(fair) = self.state.fair.get_mut(&(claim.app.clone(), rank)) {
            fair.served(start);
        }
        self.state.queues.get_mut(&claim.app)?.remove(&place);
        if let Some(record) = self.state.jobs.get_mut(&head).filter(|_| chosen != head) {
            record.passed += 1;
        }
        Some(chosen)
    }

    /// Puts a queued job into its queue, appends a `queued` event, and returns the position.
    pub(super) fn enqueue(&mut self, id: JobId) -> u64 {
        let Some(record) = self.state.jobs.get(&id) else { return 0 };
        let (app, place, due) = (record.job.app.clone(), record.place(), record.due());
        let needs = record.job.needs.clone();
        self.state.queues.entry(app.clone()).or_default().insert(place);
        self.state.due.insert((due, id));
        let position = self.state.jobs.get(&id).map_or(0, |record| self.state.position(record));
        self.append(id, &Event::Queued { position });
        self.wake_capable(&app, &needs);
        position
    }

    /// Replaces the job's due time `old` with its new one.
    pub(super) fn move_due(&mut self, id: JobId, old: crate::id::Micros) {
        self.state.due.remove(&(old, id));
        if let Some(record) = self.state.jobs.get(&id) {
            self.state.due.insert((record.due(), id));
        }
    }

    /// Appends an event to a job's log.
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

    pub(super) fn heartbeat(&mut self, record: WorkerRecord) {
        let (now, known) = (self.now, self.rules.worker_known);
        // Silent workers are removed together, so that most heartbeats do not read all workers.
        if now.since(self.state.swept) > known {
            self.state.workers.retain(|_, seen| now.since(seen.last_seen) <= known);
            self.state.swept = now;
        }
        self.state.workers.insert(record.id.clone(), SeenWorker { record, last_seen: now });
    }
}

fn lease(record: &Record, claim: &Claim) -> Lease {
    Lease {
        job: record.job.clone(),
        attempt: record.attempt,
        worker: claim.worker.clone(),
        checkpoint: record.checkpoint.clone(),
        finish_early: record.finish_early,
        seq: record.seq,
    }
}
