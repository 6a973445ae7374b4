//! The rules that a run can break.

use glimpse_test_support::history::Violation;

/// The promises of `docs/guarantees.md`, as a run can break them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Every job that was observed ends.
    Ends,
    /// There is one terminal event; the log, the status and every follower have the same one.
    EndsOnce,
    /// An ended job's log holds only its terminal event.
    LogIsTheEnd,
    /// Every client that stays or returns receives the end.
    EndDelivered,
    /// No client receives the end twice, or anything after it.
    EndDeliveredOnce,
    /// Ids rise strictly for every follower, over all its connections.
    IdsRise,
    /// The numbers of a log have no gaps.
    NoHoles,
    /// Attempts rise, and a preview belongs to the attempt that holds the job: a worker that lost it publishes nothing.
    Fenced,
    /// A preview is sent once per attempt and step, in the order of the steps.
    PreviewsOnce,
    /// No attempt is lost unless a fault hit its worker.
    NoLossWithoutCause,
    /// A job ends as its request says.
    Deserved,
    /// DELETE returns the status with which the job ended.
    CancelKept,
    /// The same request gives the same pictures, however many attempts it takes.
    SamePictures,
    /// One idempotency key gives one job, and so does the retry of a dead job.
    OneJob,
    /// The dead list has exactly the jobs that ended with `attempts_exhausted`; a retry removes a job from it.
    DeadListed,
    /// Every webhook that was accepted is delivered at least once.
    HookCalled,
    /// After its acknowledgement a webhook is called at most once more for each fault that may have lost an answer.
    HookCalledOnce,
    /// Every call of a webhook has the same id and the same body.
    HookSame,
    /// No work is left.
    NothingLeft,
    /// Every key has a time to live, except those that `docs/store.md` names.
    Mortal,
    /// No process panics, or ends on its own.
    Sound,
    /// The fleet still serves new jobs.
    Serves,
}

impl Rule {
    /// The rule that an event breaks where it was received; `last` is the rule that nothing follows the end.
    pub fn of(violation: Violation, last: Self) -> Self {
        match violation {
            Violation::AfterTheEnd => last,
            Violation::OutOfOrder => Self::IdsRise,
            Violation::Missing(_) => Self::NoHoles,
            Violation::AttemptAgain | Violation::Fenced => Self::Fenced,
            Violation::PreviewAgain => Self::PreviewsOnce,
        }
    }
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    pub rule: Rule,
    /// A job's id, or another subject.
    pub of: String,
    pub why: String,
}
