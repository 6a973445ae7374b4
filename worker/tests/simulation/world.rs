//! The store of a run, checked by the ledger, with a clock that follows virtual time.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering},
};

use glimpse_shared::{
    id::Micros,
    store::{
        Clock, Finish, Hold, Released, Rules,
        memory::MemoryStore,
        transition::{Effect, Outcome},
    },
};
use glimpse_test_support::ledger::{Broken, Ledger, bugs::Apply, observer::Observer};
use tokio::time::Instant;

use super::weather::Weather;

/// 2026-11-25, in microseconds.
const START: Micros = Micros(1_795_564_800_000_000);

/// Counts the events of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    pub fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }
}

#[derive(Default)]
struct Seen {
    /// A broken invariant that the ledger does not check.
    broken: Option<Broken>,
    tally: Tally,
    trace: DefaultHasher,
    /// Number of attempts of each job, by its seed.
    tries: BTreeMap<u64, u64>,
}

/// The world of a run: its store, its faults, and what happened.
pub struct World {
    pub store: Arc<MemoryStore>,
    pub weather: Weather,
    clock: Clock,
    begun: Instant,
    observer: Observer,
    seen: Arc<Mutex<Seen>>,
}

impl World {
    pub fn new(rules: Rules, weather: Weather, apply: Apply) -> Self {
        let clock = Clock::manual(START);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let observer = Observer::default();
        let watched = {
            let (seen, observed) = (seen.clone(), observer.observe(apply));
            Box::new(move |state: &mut _, rules: &Rules, command, now| {
                let (outcome, effects) = observed(state, rules, command, now);
                lock(&seen).note(now, &outcome, &effects);
                (outcome, effects)
            })
        };
        let store = Arc::new(MemoryStore::with(rules, clock.clone(), watched));
        Self { store, weather, clock, begun: Instant::now(), observer, seen }
    }

    /// Sets the store's clock to the virtual time.
    pub fn tick(&self) {
        if let Clock::Manual(now) = &self.clock {
            now.store(START.after(self.begun.elapsed()).0, Ordering::SeqCst);
        }
    }

    pub fn count(&self, what: &'static str) {
        lock(&self.seen).tally.count(what);
    }

    /// Records a broken invariant.
    pub fn broken(&self, what: impl FnOnce() -> Broken) {
        lock(&self.seen).broken.get_or_insert_with(what);
    }

    /// The number of this attempt at a job.
    pub fn tries(&self, seed: u64) -> u64 {
        let mut seen = lock(&self.seen);
        let tries = seen.tries.entry(seed).or_default();
        *tries += 1;
        *tries
    }

    /// The first broken invariant, if any.
    pub fn verdict(&self) -> Result<(), Broken> {
        self.observer.verdict()?;
        lock(&self.seen).broken.clone().map_or(Ok(()), Err)
    }

    /// Whether every accepted job has ended.
    pub fn all_ended(&self) -> Result<(), Broken> {
        self.observer.ask(Ledger::all_ended)
    }

    /// The counts of events, and a hash of all events in their order.
    pub fn summary(&self) -> (Tally, u64) {
        let mut seen = lock(&self.seen);
        self.observer.ask(|ledger| {
            for (_, life) in ledger.lives() {
                seen.tally.count("lives");
                seen.tally.count(life.ended().map_or("unfinished", |ended| ended.as_str()));
                if life.attempt() > 1 {
                    seen.tally.count("tried again");
                }
                if life.counted() > 0 {
                    seen.tally.count("lost or faulty");
                }
            }
        });
        (seen.tally.clone(), seen.trace.finish())
    }
}

impl Seen {
    fn note(&mut self, now: Micros, outcome: &Outcome, effects: &[Effect]) {
        (now, std::mem::discriminant(outcome)).hash(&mut self.trace);
        for effect in effects {
            if let Effect::Appended(id, frame) = effect {
                (id, frame.seq, frame.kind).hash(&mut self.trace);
            }
        }
        match outcome {
            Outcome::Renew(Hold::Lost)
            | Outcome::Publish(Hold::Lost, _)
            | Outcome::Finish(Finish::Lost)
            | Outcome::Release(Released::Lost) => self.tally.count("fenced writes"),
            Outcome::Finish(Finish::Finished) if effects.is_empty() => self.tally.count("repeated finishes"),
            Outcome::Claim(Some(_)) if effects.is_empty() => self.tally.count("repeated claims"),
            Outcome::Claim(Some(lease)) if lease.checkpoint.is_some() => self.tally.count("resumed"),
            _ => {}
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap()
}
