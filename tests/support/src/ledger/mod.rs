//! What must hold of every job, whatever happens: the store's promises, stated once.
//!
//! The ledger watches the transition from outside: it is with_context each command with its answer and effects, keeps an
//! account of its own of who holds which job since when, and says which promise was broken. It reads the store's
//! state only to see that the two accounts agree. The model check asks it at every step of every path, the
//! simulation at every command of every life, the property test of both homes at every random command.
//!
//! ```text
//! account.rs  who of those below a command is for       life.rs      what a job has been through
//! queue.rs    how a job comes and who gets it           observer.rs  a ledger that watches a memory home
//! holder.rs   what its holder may do                    bugs.rs      promises broken on purpose
//! ending.rs   what others may do to it                  ../history.rs  what its log must be like
//! ```

mod account;
pub mod bugs;
mod ending;
mod holder;
mod life;
pub mod observer;
mod queue;

use std::{collections::BTreeMap, fmt};

use glimpse_shared::{
    event::Frame,
    id::{JobId, Micros},
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

/// Something that must be so.
fn must(so: bool, otherwise: &str) -> Result<(), Broken> {
    if so { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    lives: BTreeMap<JobId, Life>,
}

impl Ledger {
    /// Enters a command that was applied at `now` and left the store in the state `after`.
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
            self.agree(id, after).map_err(with_context)?;
        }
        Ok(())
    }

    /// The jobs that were accepted and are not forgotten.
    pub fn lives(&self) -> impl Iterator<Item = (&JobId, &Life)> {
        self.lives.iter()
    }

    /// Whether every job has ended: to be asked once all deadlines have passed and somebody has reaped.
    pub fn all_ended(&self) -> Result<(), Broken> {
        let mut unfinished = self.lives().filter(|(_, life)| life.ended().is_none());
        let Some((id, _)) = unfinished.next() else { return Ok(()) };
        Err(format!("every job ends, but not {id} and {} others", unfinished.count()))
    }

    /// Whether what the store says of a job, if it knows it, and its newest event are what the account says.
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
        must(life.shows(state), "a change without its event")
    }

    /// Enters the events of a command about a job; answers the one that there may be.
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
            appended = Some(frame.clone());
        }
        Ok(appended)
    }

    /// The store's state and the account tell the same of a job.
    fn agree(&mut self, id: JobId, after: &State) -> Result<(), Broken> {
        let state = after.status(id);
        if let (Some(life), Some(state)) = (self.lives.get_mut(&id), &state) {
            life.show(state);
        }
        self.check(id, state.as_ref().map(|state| (state, after.newest(id))))?;
        let Some(life) = self.lives.get(&id) else { return Ok(()) };
        must(
            after.due(Micros(u64::MAX)).contains(&id) == life.ended().is_none(),
            "a job is looked after exactly until its end",
        )?;
        must(
            after.checkpoint(id) == life.checkpoint.as_ref(),
            "the checkpoint is not the newest that was accepted of a good attempt",
        )
    }
}

/// What it is, without the pictures in it.
fn brief(what: &dyn fmt::Debug) -> String {
    format!("{what:?}").chars().take(250).collect()
}
