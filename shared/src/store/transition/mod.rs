//! The rules of the queue as a pure function: `(state, command, now) -> (state, outcome, effects)`.
//!
//! It uses no clock, lock, channel or I/O, so a model check can explore it exhaustively, and a test can compare it with
//! the Lua scripts command by command. The memory implementation adds the rest.

pub mod dead;
mod delivery;
mod early;
pub mod ending;
mod fair;
mod held;
mod listed;
mod queue;
mod state;
mod wake;

pub use state::{Record, State};

use crate::{
    event::{CancelledBy, Frame},
    id::{App, JobId, Micros, Partition, Seq, WorkerId},
    job::{Job, Release, Status, WorkerRecord},
    needs::Capabilities,
    store::{
        Cancel, Checkpoint, Claim, Finish, FinishEarly, Hold, Lease, Quota, Released, Retry, Rules, Submit,
    },
    webhook::{Delivery, Report, Settled},
};

/// A command to the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// See [`Store::submit_within`](super::Store::submit_within).
    Submit(Box<Job>, Quota),
    /// See [`Store::try_claim`](super::Store::try_claim).
    TryClaim(Claim),
    /// Takes a wake-up token for workers with these capabilities, if there is one.
    TakeWake(App, Capabilities),
    /// See [`Store::wake`](super::Store::wake).
    Wake(App, Capabilities),
    /// See [`Store::renew`](super::Store::renew).
    Renew(Fence, Option<Checkpoint>),
    /// See [`Store::publish`](super::Store::publish). The preview's frame and step; its index, if it is a partial
    /// picture.
    Publish(Fence, Frame, u32, Option<u32>),
    /// See [`Store::finish`](super::Store::finish). The frame has the number that the worker expects.
    Finish(Fence, Frame, Status),
    /// See [`Store::release`](super::Store::release).
    Release(Fence, Release),
    /// See [`Store::cancel`](super::Store::cancel).
    Cancel(JobId, CancelledBy),
    /// See [`Store::finish_early`](super::Store::finish_early).
    FinishEarly(JobId),
    /// See [`Store::retry`](super::Store::retry).
    Retry(JobId),
    /// Checks one job that may be overdue. The second value is the store's time that the caller last read.
    Reap(JobId, Micros),
    /// See [`Store::heartbeat`](super::Store::heartbeat).
    Heartbeat(WorkerRecord),
    /// Leases the most overdue delivery of a partition. See [`Store::take_deliveries`](super::Store::take_deliveries).
    TakeDelivery(Partition),
    /// Reports the try with this number. See [`Store::settle_delivery`](super::Store::settle_delivery).
    SettleDelivery(JobId, u32, Report),
    /// See [`Store::forget`](super::Store::forget).
    Forget(JobId),
}

/// The condition of a worker's write: the job is running, in this attempt, on this worker. The attempt is not enough:
/// after a failover two workers may have the same number, and an idempotency key may reuse an id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The job.
    pub id: JobId,
    /// The lease's attempt.
    pub attempt: u32,
    /// The lease's worker.
    pub worker: WorkerId,
}

impl From<&Lease> for Fence {
    fn from(lease: &Lease) -> Self {
        Self { id: lease.job.id, attempt: lease.attempt, worker: lease.worker.clone() }
    }
}

/// The answer to a [`Command`].
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// To Submit.
    Submit(Submit),
    /// To TryClaim.
    Claim(Option<Box<Lease>>),
    /// To TakeWake: whether there was a token.
    Woken(bool),
    /// To Renew.
    Renew(Hold),
    /// To Publish, with the job's newest seq if the worker holds the job.
    Publish(Hold, Seq),
    /// To Finish.
    Finish(Finish),
    /// To Finish, or to Publish of a partial picture, with a wrong frame number: the right number.
    Renumber(Seq),
    /// To Release.
    Release(Released),
    /// To Cancel.
    Cancel(Cancel),
    /// To FinishEarly.
    FinishEarly(FinishEarly),
    /// To Retry.
    Retry(Retry),
    /// To Reap.
    Reap(ReapOutcome),
    /// To TakeDelivery.
    Delivery(Option<Box<Delivery>>),
    /// To SettleDelivery.
    Settled(Settled),
    /// To Wake, Heartbeat and Forget.
    Done,
}

/// The result of a reap of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReapOutcome {
    /// The job has ended with a `failed` event.
    Ended,
    /// The job lost its worker and waits again.
    GivenBack,
    /// The job was not due.
    Nothing,
}

/// A notification that a command causes.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The job's log has a new event.
    Appended(JobId, Frame),
    /// A running job of this app was cancelled.
    CancelledRunning(App, JobId),
    /// A running job of this app should finish early, from this step on.
    FinishEarly(App, JobId, u32),
    /// There is a new wake-up token of the app: for workers with these capabilities, or for any worker.
    Woken(App, Option<Capabilities>),
    /// The job was deleted.
    Forgotten(JobId),
}

/// Applies one command.
pub fn apply(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    let mut change = Change { state, rules, now, effects: Vec::new() };
    let outcome = match command {
        Command::Submit(job, quota) => Outcome::Submit(change.submit(*job, quota)),
        Command::TryClaim(claim) => Outcome::Claim(change.try_claim(claim).map(Box::new)),
        Command::TakeWake(app, capabilities) => Outcome::Woken(change.take_wake(app, capabilities)),
        Command::Wake(app, capabilities) => {
            change.pass_on(&app, capabilities);
            Outcome::Done
        }
        Command::Renew(fence, checkpoint) => Outcome::Renew(change.renew(&fence, checkpoint)),
        Command::Publish(fence, frame, step, partial) => change.publish(&fence, frame, step, partial),
        Command::Finish(fence, frame, status) => change.finish(&fence, frame, status),
        Command::Release(fence, release) => Outcome::Release(change.release(&fence, release)),
        Command::Cancel(id, by) => Outcome::Cancel(change.cancel(id, by)),
        Command::FinishEarly(id) => Outcome::FinishEarly(change.finish_early(id)),
        Command::Retry(id) => Outcome::Retry(change.retry(id)),
        Command::Reap(id, seen) => Outcome::Reap(change.reap(id, seen)),
        Command::Heartbeat(worker) => {
            change.heartbeat(worker);
            Outcome::Done
        }
        Command::TakeDelivery(partition) => Outcome::Delivery(change.take_delivery(partition).map(Box::new)),
        Command::SettleDelivery(id, number, report) => {
            Outcome::Settled(change.settle_delivery(id, number, report))
        }
        Command::Forget(id) => {
            change.forget(id);
            Outcome::Done
        }
    };
    (outcome, change.effects)
}

/// A command that is being applied: the state, and the effects so far.
struct Change<'a> {
    state: &'a mut State,
    rules: &'a Rules,
    now: Micros,
    effects: Vec<Effect>,
}
