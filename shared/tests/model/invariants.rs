//! What must hold whatever happens. Each is stated here once, of what everybody can see: where a job stood before a
//! command and where it stands after. The model and the property test hold every command against them.

use glimpse_shared::{
    id::WorkerId,
    job::{JobState, Status},
    store::Submit,
};

/// Which one does not hold, and where.
pub type Held = Result<(), String>;

fn hold(is: bool, what: &str, before: Option<&JobState>, after: Option<&JobState>) -> Held {
    let told = |state: Option<&JobState>| {
        state.map(|state| (state.status, state.attempt, state.worker.clone(), state.seq, state.step))
    };
    if is { Ok(()) } else { Err(format!("{what}: {:?} became {:?}", told(before), told(after))) }
}

/// Of any command and any job.
pub fn changed(before: Option<&JobState>, after: Option<&JobState>) -> Held {
    let hold = |is, what| hold(is, what, before, after);
    let Some(new) = after else {
        let gone = before.is_none_or(|old| old.status.is_terminal());
        return hold(gone, "no job is lost before its end");
    };
    let newest = new.newest.as_ref();
    hold(newest.is_some_and(|event| event.seq == new.seq), "the newest event has the job's number")?;
    let last = newest.is_some_and(|event| event.kind.is_terminal());
    hold(last == new.status.is_terminal(), "a job has ended exactly if its newest event says so")?;
    hold((new.status == Status::Queued) == new.position.is_some(), "what waits has a place")?;
    let Some(old) = before else {
        return hold(new.status == Status::Queued && new.seq.0 == 1, "a job begins in the queue");
    };
    if old.status.is_terminal() {
        return hold(old == new, "a job ends once, and nothing happens to it after");
    }
    let same =
        (old.status, old.attempt, &old.worker, old.step) == (new.status, new.attempt, &new.worker, new.step);
    if new.seq == old.seq {
        return hold(same, "no change without its event");
    }
    hold(new.seq == old.seq.next(), "seqs have no holes")
}

/// Of a command that a worker sends about a job that it may hold no longer.
pub fn fenced(attempt: u32, worker: &WorkerId, before: Option<&JobState>, after: Option<&JobState>) -> Held {
    let holds = |state: &JobState| {
        (state.status, state.attempt, state.worker.as_ref()) == (Status::Running, attempt, Some(worker))
    };
    let wrote = before.map(|old| old.seq) != after.map(|new| new.seq);
    hold(!wrote || before.is_some_and(holds), "only the holder of a job writes about it", before, after)
}

/// Of a submit: that a job is known is answered before that there is no room.
pub fn submitted(before: Option<&JobState>, answer: &Submit) -> Held {
    let known = matches!(answer, Submit::Duplicate | Submit::Conflict);
    hold(known == before.is_some(), "a repeated submit is told so, a new one is not", before, None)
}

/// Of every job once all deadlines have passed and somebody has reaped.
pub fn ended(state: Option<&JobState>) -> Held {
    hold(state.is_none_or(|state| state.status.is_terminal()), "every job ends", state, None)
}
