//! The store of a world: its state, and the ledger that checks every command.

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

/// A state with its ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    pub state: State,
    pub ledger: Ledger,
    apply: Transition,
}

/// The function that applies commands: the same in all worlds of a search, so it does not distinguish them.
#[derive(Debug, Clone, Copy)]
struct Transition(Apply);

impl PartialEq for Transition {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Store {
    /// An empty store whose commands are applied by `apply`.
    pub fn new(apply: Apply) -> Self {
        Self { state: State::default(), ledger: Ledger::default(), apply: Transition(apply) }
    }

    /// Applies a command and records the outcome.
    pub fn send(&mut self, rules: &Rules, command: Command, now: Micros) -> Result<Outcome, Broken> {
        let (outcome, effects) = (self.apply.0)(&mut self.state, rules, command.clone(), now);
        self.ledger.enter(rules, &command, (&outcome, &effects), &self.state, now)?;
        Ok(outcome)
    }

    /// Everything that distinguishes this store from another one.
    pub fn signature(&self) -> impl Debug {
        // Without bugs the ledger's account follows from the state, so it adds no worlds. With a planted bug it may
        // not, so it must count. Its hash is enough, and is cheaper than its debug form.
        (&self.state, BuildHasherDefault::<DefaultHasher>::default().hash_one(&self.ledger))
    }
}
