//! A ledger that observes every command of a memory store.

use std::sync::{Arc, Mutex, MutexGuard};

use glimpse_shared::store::{Rules, memory};

use super::{Broken, Ledger, bugs::Apply};

/// What has happened so far, and the first promise that was broken.
#[derive(Debug, Clone, Default)]
pub struct Observer(Arc<Mutex<Observed>>);

#[derive(Debug, Default)]
struct Observed {
    ledger: Ledger,
    broken: Option<Broken>,
}

impl Observer {
    /// The argument for [`MemoryStore::with`](memory::MemoryStore::with): runs `apply` and observes it.
    pub fn observe(&self, apply: Apply) -> Box<memory::Apply> {
        let observer = self.clone();
        Box::new(move |state, rules: &Rules, command, now| {
            let (outcome, effects) = apply(state, rules, Clone::clone(&command), now);
            let mut observed = observer.lock();
            if let Err(broken) = observed.ledger.enter(rules, &command, (&outcome, &effects), state, now) {
                observed.broken.get_or_insert(broken);
            }
            (outcome, effects)
        })
    }

    /// The first broken promise, if any.
    pub fn verdict(&self) -> Result<(), Broken> {
        self.lock().broken.clone().map_or(Ok(()), Err)
    }

    /// Checks a command with the ledger.
    pub fn ask<T>(&self, question: impl FnOnce(&Ledger) -> T) -> T {
        question(&self.lock().ledger)
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap()
    }
}
