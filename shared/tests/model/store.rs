//! The store of a world: its state, and the ledger that is told of every command.

use std::{
    fmt::Debug,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use glimpse_shared::{
    id::Micros,
    store::{
        Rules,
        transition::{Command, Outcome, State},
    },
};
use glimpse_test_support::ledger::{Broken, Ledger, bugs::Apply};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    pub state: State,
    pub ledger: Ledger,
    apply: Transition,
}

/// What commands do: the same in all worlds of a search, so it tells none from another.
#[derive(Debug, Clone, Copy)]
struct Transition(Apply);

impl PartialEq for Transition {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Store {
    /// An empty one whose commands do what `apply` says.
    pub fn new(apply: Apply) -> Self {
        Self { state: State::default(), ledger: Ledger::default(), apply: Transition(apply) }
    }

    /// Applies a command and enters what came of it.
    pub fn send(&mut self, rules: &Rules, command: Command, now: Micros) -> Result<Outcome, Broken> {
        let (outcome, effects) = (self.apply.0)(&mut self.state, rules, command.clone(), now);
        self.ledger.enter(rules, &command, (&outcome, &effects), &self.state, now)?;
        Ok(outcome)
    }

    /// All that tells it from another.
    pub fn signature(&self) -> impl Debug {
        // Of a store that keeps its promises the account follows from the state, so it adds no worlds. Under a planted
        // bug it may not: there it must count. Its hash does, and is had sooner than its print.
        (&self.state, BuildHasherDefault::<DefaultHasher>::default().hash_one(&self.ledger))
    }
}
