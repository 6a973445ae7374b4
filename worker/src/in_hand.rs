//! The jobs that the worker has in hand: at most two. The pipeline works on one of them. The other is either the job
//! before it, whose pictures are being sent, or the job after it, which was claimed ahead.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use glimpse_shared::{id::JobId, job::WorkerState};
use tokio::sync::Notify;

use crate::{
    signals::{Signals, Stop},
    steps_done::StepsDone,
};

/// How many jobs a worker holds at most. This limits the pictures in memory too.
const MOST: usize = 2;

/// How far the pipeline is with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its order waits for the pipeline.
    Waiting,
    /// The pipeline works on it.
    Running,
    /// Its last step has begun.
    LastStep,
    /// The pipeline is done with it. Its pictures are being encoded and sent.
    Made,
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has drained.
    Drained,
    /// Its device is unusable. A supervisor should restart it.
    DeviceFault,
}

/// The worker's state, and the progress of the job that its pipeline works on.
pub type Activity = (WorkerState, Option<StepsDone>);

/// A job in hand.
#[derive(Debug)]
struct Job {
    /// Its place in the order of the claims: two attempts at the same job differ in it.
    number: u64,
    id: JobId,
    signals: Signals,
    steps_done: StepsDone,
    stage: Stage,
    /// It was stopped and is not held any more, but the pipeline has not dropped it yet.
    settled: bool,
}

/// The jobs in hand, oldest first: the pipeline works on them in this order.
#[derive(Debug, Default)]
pub struct State {
    jobs: Vec<Job>,
    taken: u64,
    ending: Option<Ended>,
    grace_over: bool,
    closed: bool,
}

impl State {
    /// Whether the worker claims no more jobs.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether the worker has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether another job may be claimed: the pipeline is free, or has begun the last step of its last job. A stopped
    /// job may keep the pipeline busy for longer than one step, so none is claimed behind it.
    pub fn has_room(&self) -> bool {
        let last = self.jobs.last();
        let soon_free = last.is_none_or(|job| !job.settled && job.stage >= Stage::LastStep);
        soon_free && self.jobs.iter().filter(|job| !job.settled).count() < MOST
    }

    /// Whether the pipeline has no job.
    pub fn is_free(&self) -> bool {
        self.jobs.last().is_none_or(|job| job.stage == Stage::Made)
    }

    /// What the worker says of itself. A job that was claimed ahead does not count before the pipeline has begun it.
    pub fn activity(&self) -> Activity {
        let begun = self.jobs.iter().rfind(|job| job.stage > Stage::Waiting);
        match begun.or(self.jobs.first()) {
            Some(job) => (WorkerState::Busy, (!job.settled).then(|| job.steps_done.clone())),
            None if self.is_ending() => (WorkerState::Draining, None),
            None => (WorkerState::Idle, None),
        }
    }

    /// Stops the jobs that a worker which ends gives back: those behind another, and after the grace period all.
    fn give_back(&self) {
        for (at, job) in self.jobs.iter().enumerate() {
            let before = &self.jobs[..at];
            let is_ahead =
                job.stage == Stage::Waiting && before.iter().any(|before| before.stage < Stage::Made);
            if self.grace_over || self.is_ending() && is_ahead {
                job.signals.halt(Stop::Drain);
            }
        }
    }

    fn job(&mut self, number: u64) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.number == number)
    }
}

/// The jobs in hand. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct InHand(Arc<Shared>);

/// Not a `watch` channel: it wakes its receivers in a random order, and a simulation could not repeat a run.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

impl InHand {
    /// Adds a claimed job, behind the others.
    pub fn take(&self, id: JobId, signals: Signals) -> Seat {
        let steps_done = StepsDone::default();
        let number = self.change(|state| {
            let number = state.taken;
            state.taken += 1;
            let steps_done = steps_done.clone();
            state.jobs.push(Job { number, id, signals, steps_done, stage: Stage::Waiting, settled: false });
            // The claim may have been answered after the drain began.
            state.give_back();
            number
        });
        Seat { mark: Mark { in_hand: self.clone(), number }, steps_done }
    }

    /// Stops a job, if it is in hand.
    pub fn cancel(&self, id: JobId) {
        let state = self.state();
        state.jobs.iter().filter(|job| job.id == id).for_each(|job| job.signals.halt(Stop::Cancelled));
    }

    /// Finishes a job early, after the first step from this one on, if it is in hand.
    pub fn finish_early(&self, id: JobId, at: u32) {
        let state = self.state();
        state.jobs.iter().filter(|job| job.id == id).for_each(|job| job.signals.finish_early(at));
    }

    /// Ends the claims, and gives back a job that was claimed ahead. A device fault replaces a drain as the reason.
    pub fn end(&self, reason: Ended) {
        self.change(|state| {
            if state.ending != Some(Ended::DeviceFault) {
                state.ending = Some(reason);
            }
            state.give_back();
        });
    }

    /// Stops all jobs: the grace period is over.
    pub fn end_grace(&self) {
        self.change(|state| {
            state.grace_over = true;
            state.give_back();
        });
    }

    /// Says that the worker has ended.
    pub(crate) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// Why the worker ends, if it does.
    pub fn ending(&self) -> Option<Ended> {
        self.state().ending
    }

    /// Reads the jobs as they are now.
    pub fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state())
    }

    /// Waits until something is true of the jobs.
    pub async fn until(&self, mut so: impl FnMut(&State) -> bool) {
        let mut changed = pin!(self.0.changed.notified());
        loop {
            // Before the look, so that no change is missed.
            changed.as_mut().enable();
            if self.read(&mut so) {
                return;
            }
            changed.as_mut().await;
            changed.set(self.0.changed.notified());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state());
        self.0.changed.notify_waiters();
        done
    }
}

/// The place of a job among the jobs in hand. Dropped when the job is settled and the pipeline is done with it.
#[derive(Debug)]
pub struct Seat {
    mark: Mark,
    steps_done: StepsDone,
}

impl Seat {
    /// For the pipeline's thread.
    pub fn mark(&self) -> Mark {
        self.mark.clone()
    }

    /// The job's progress.
    pub fn steps_done(&self) -> StepsDone {
        self.steps_done.clone()
    }

    /// Whether the pipeline has begun the job.
    pub fn has_begun(&self) -> bool {
        let number = self.mark.number;
        self.mark
            .in_hand
            .read(|state| state.jobs.iter().any(|job| job.number == number && job.stage > Stage::Waiting))
    }

    /// The pipeline has returned the job's pictures.
    pub fn made(&self) {
        self.mark.reach(Stage::Made);
    }

    /// The job is stopped and not held any more; the pipeline still has to drop it.
    pub fn settled(&self) {
        self.mark.change(|job| job.settled = true);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let number = self.mark.number;
        self.mark.in_hand.change(|state| state.jobs.retain(|job| job.number != number));
    }
}

/// Records how far the pipeline is with a job. Does nothing after the job has left.
#[derive(Debug, Clone)]
pub struct Mark {
    in_hand: InHand,
    number: u64,
}

impl Mark {
    /// The job has reached this stage. A job never goes back.
    pub fn reach(&self, stage: Stage) {
        self.change(|job| job.stage = job.stage.max(stage));
    }

    fn change(&self, change: impl FnOnce(&mut Job)) {
        self.in_hand.change(|state| {
            if let Some(job) = state.job(self.number) {
                change(job);
            }
        });
    }
}
