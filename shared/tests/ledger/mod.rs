//! What must hold of every job, whatever happens: the store's promises, stated once.
//!
//! The ledger watches the transition from outside: it is told each command with its answer and effects, keeps an
//! account of its own of who holds which job since when, and says which promise was broken. It reads the store's
//! state only to see that the two accounts agree. The model check asks it at every step of every path, the
//! simulation at every command of every life, the property test of both homes at every random command.

mod account;
pub mod bugs;
mod life;

use std::{collections::BTreeMap, fmt};

use glimpse_shared::{
    event::{EventKind, Frame},
    id::{JobId, Micros},
    job::Status,
    store::{
        Rules,
        transition::{Command, Effect, Outcome, State},
    },
};
pub use life::Life;

/// A promise that was broken, in words.
pub type Broken = String;

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
        let told = |broken: Broken| {
            format!("{broken}: at {}, {} was answered {}", now.0, brief(command), brief(outcome))
        };
        let id = self.account(rules, command, outcome, effects, now).map_err(told)?;
        if let Some(id) = id {
            self.agree(id, after).map_err(told)?;
        }
        Ok(())
    }

    /// The jobs that were accepted and are not forgotten.
    pub fn lives(&self) -> impl Iterator<Item = (&JobId, &Life)> {
        self.lives.iter()
    }

    /// Enters the events: numbered without holes, and none after the end.
    fn append(&mut self, id: JobId, effects: &[Effect]) -> Result<Option<Frame>, Broken> {
        let mut appended = None;
        for effect in effects {
            let Effect::Appended(of, frame) = effect else { continue };
            let life = self.lives.get_mut(of).filter(|_| *of == id).ok_or("an event of another job")?;
            if appended.is_some() {
                return Err("one command, two events".to_owned());
            }
            if life.ended.is_some() {
                return Err("an event after the end".to_owned());
            }
            if frame.seq != life.seq.next() {
                return Err(format!("event {} follows {}", frame.seq, life.seq));
            }
            life.seq = frame.seq;
            life.ended = ended(frame.kind);
            appended = Some(frame.clone());
        }
        Ok(appended)
    }

    /// The store's state and the account tell the same of a job.
    fn agree(&self, id: JobId, after: &State) -> Result<(), Broken> {
        let state = after.status(id);
        let Some(life) = self.lives.get(&id) else {
            return state.map_or(Ok(()), |_| Err("a job that was never accepted".to_owned()));
        };
        let state = state.ok_or("an accepted job is gone")?;
        let status = match (life.ended, &life.holder) {
            (Some(ended), _) => ended,
            (None, Some(_)) => Status::Running,
            (None, None) => Status::Queued,
        };
        let is = (state.status, state.seq, state.attempt);
        if is != (status, life.seq, life.attempt) {
            return Err(format!("{is:?} is not {:?}", (status, life.seq, life.attempt)));
        }
        if let Some(holder) = &life.holder
            && state.worker.as_ref() != Some(&holder.worker)
        {
            return Err(format!("held by {:?}, not by {}", state.worker, holder.worker));
        }
        if after.due(Micros(u64::MAX)).contains(&id) == status.is_terminal() {
            return Err("a job is looked after exactly until its end".to_owned());
        }
        if after.checkpoint(id) != life.checkpoint.as_ref() {
            return Err("the checkpoint is not the newest that was accepted of a good attempt".to_owned());
        }
        Ok(())
    }
}

/// What it is, without the pictures in it.
fn brief(what: &dyn fmt::Debug) -> String {
    format!("{what:?}").chars().take(250).collect()
}

/// The status that an event of this kind ends a job with.
fn ended(kind: EventKind) -> Option<Status> {
    match kind {
        EventKind::Completed => Some(Status::Completed),
        EventKind::Failed => Some(Status::Failed),
        EventKind::Cancelled => Some(Status::Cancelled),
        EventKind::Queued | EventKind::Started | EventKind::Preview => None,
    }
}
