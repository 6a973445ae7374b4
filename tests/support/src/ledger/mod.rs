//! The store's promises for every job.
//!
//! The ledger observes the transition: it gets each command with its answer and effects, keeps its own account of who
//! holds which job, and reports a broken promise. It reads the store's state only to compare it with its account. The
//! model check, the simulation and the property test of both implementations use it after every command.
//!
//! ```text
//! account.rs  calls the rule of a command             life.rs        the account of one job
//! queue.rs    rules for submits, claims and retries   observer.rs    a ledger that observes a memory store
//! holder.rs   rules for the holder                    bugs.rs        planted bugs
//! ending.rs   rules for other processes               delivery.rs    rules for webhooks
//! ../history.rs  rules of a log
//! ```

mod account;
pub mod bugs;
mod delivery;
mod ending;
mod holder;
mod life;
pub mod observer;
mod queue;

use std::{collections::BTreeMap, fmt};

use glimpse_shared::{
    event::{Event, Frame},
    id::{JobId, Micros, Seq},
    job::{JobState, Status},
    store::{
        Rules,
        transition::{Command, Effect, Outcome, State},
    },
};

use crate::history::Entry;
pub use life::Life;

/// A promise that was broken, in words.
pub type Broken = String;

/// Returns `otherwise` as the broken promise unless `so` is true.
fn must(so: bool, otherwise: &str) -> Result<(), Broken> {
    if so { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// The account of all jobs; see the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    lives: BTreeMap<JobId, Life>,
}

impl Ledger {
    /// Records a command that was applied at `now`. `after` is the store's state after it.
    pub fn enter(
        &mut self,
        rules: &Rules,
        command: &Command,
        (outcome, effects): (&Outcome, &[Effect]),
        after: &State,
        now: Micros,
    ) -> Result<(), Broken> {
        let with_context = |broken: Broken| {
            format!("{broken}: at {}, {} was answered {}", now.0, brief(command), brief(outcome))
        };
        let id = self.account(rules, command, outcome, effects, now).map_err(with_context)?;
        if let Some(id) = id {
            self.begin_delivery(id, now);
            self.agree(id, after).map_err(with_context)?;
        }
        if matches!(command, Command::TakeDelivery(_)) {
            // It may have given up several.
            self.deliveries(after).map_err(with_context)?;
        }
        Ok(())
    }

    /// The accepted jobs that are not deleted.
    pub fn lives(&self) -> impl Iterator<Item = (&JobId, &Life)> {
        self.lives.iter()
    }

    /// Checks that every job has ended. Call it after all deadlines and a reap.
    pub fn all_ended(&self) -> Result<(), Broken> {
        let mut unfinished = self.lives().filter(|(_, life)| life.ended().is_none());
        let Some((id, _)) = unfinished.next() else { return Ok(()) };
        Err(format!("every job ends, but not {id} and {} others", unfinished.count()))
    }

    /// Checks that a job's state and newest event in the store match the account.
    pub fn check(&self, id: JobId, shown: Option<(&JobState, Option<&Frame>)>) -> Result<(), Broken> {
        let Some(life) = self.lives.get(&id) else {
            return must(shown.is_none(), "a job that was never accepted");
        };
        let (state, newest) = shown.ok_or("an accepted job is gone")?;
        must(state.needs == life.needs, "what a job needs has changed")?;
        let is = (state.status, state.seq, state.attempt);
        let expected = (life.status(), life.history.seq(), life.history.attempt());
        if is != expected {
            return Err(format!("{is:?} is not {expected:?}"));
        }
        must(newest.is_some_and(|event| event.seq == state.seq), "the newest event has the job's number")?;
        must(
            newest.is_some_and(|event| event.kind.is_terminal()) == state.status.is_terminal(),
            "a job has ended exactly if its newest event says so",
        )?;
        must(state.position.is_some() == (state.status == Status::Queued), "exactly what waits has a place")?;
        must(
            life.holder.as_ref().is_none_or(|holder| state.worker.as_ref() == Some(&holder.worker)),
            "the store names another holder",
        )?;
        must(
            state.finish_early == life.finish_early,
            "who asked to finish early is forgotten, or nobody asked",
        )?;
        must(life.shows(state), "a change without its event")
    }

    /// Records the event of a command about a job, and returns it.
    fn append(&mut self, id: JobId, effects: &[Effect]) -> Result<Option<Frame>, Broken> {
        let mut appended = None;
        for effect in effects {
            let Effect::Appended(of, frame) = effect else { continue };
            let life = self.lives.get_mut(of).filter(|_| *of == id).ok_or("an event of another job")?;
            must(appended.is_none(), "one command, two events")?;
            let entry = Entry::of(frame).ok_or("no event of ours")?;
            if let Some(wrong) = life.history.hear(frame.seq, entry).first() {
                return Err(wrong.to_string());
            }
            if let Some(Event::Partial { index, .. }) = frame.event() {
                must(
                    life.partials.insert(index, frame.seq).is_none(),
                    "a partial picture was written again",
                )?;
            }
            appended = Some(frame.clone());
        }
        Ok(appended)
    }

    /// Checks that the store's state of a job matches the account.
    fn agree(&mut self, id: JobId, after: &State) -> Result<(), Broken> {
        let state = after.status(id);
        if let (Some(life), Some(state)) = (self.lives.get_mut(&id), &state) {
            life.show(state);
        }
        self.check(id, state.as_ref().map(|state| (state, after.newest(id))))?;
        self.delivery(id, after)?;
        let Some(life) = self.lives.get(&id) else { return Ok(()) };
        must(
            after.due(Micros(u64::MAX)).contains(&id) == life.ended().is_none(),
            "a job is looked after exactly until its end",
        )?;
        if !life.partials.is_empty() {
            let log = after.log_after(id, None).unwrap_or_default();
            let is_kept = |partial: &Seq| log.iter().any(|frame| frame.seq == *partial);
            must(life.partials.values().all(is_kept), "a partial picture is no longer in the log")?;
        }
        must(
            after.checkpoint(id) == life.checkpoint.as_ref(),
            "the checkpoint is not the newest that was accepted of a good attempt",
        )
    }
}

/// The debug form, without pictures.
fn brief(what: &dyn fmt::Debug) -> String {
    format!("{what:?}").chars().take(250).collect()
}
