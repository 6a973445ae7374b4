//! Simulates thousands of jobs in virtual time, with all kinds of faults.
//!
//! The runner, the lease, the reporter, the registration and the reaper are the real code, and so is the store: the
//! pure transition behind the memory store. The connections (delays, lost requests, lost answers, repeated and late
//! requests, outages), the pipeline's thread and the clients are simulated. Workers are killed, frozen beyond their
//! lease and drained. A seed decides everything. The ledger (`tests/support/src/ledger`) checks the invariants at each
//! command.
//!
//! Not simulated: how the Redis store follows logs (line, inbox, follower). The library of its connection has no
//! virtual time; `shared/tests/redis` tests it.
//!
//! A usual run has always the same seeds. `SIMULATION_LIVES=n cargo test --test simulation` runs n jobs with other
//! seeds; `SIMULATION_SEED=n` runs one seed, for example one that failed.

#[cfg(test)]
mod chance;
#[cfg(test)]
mod client;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod run;
#[cfg(test)]
mod weather;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use glimpse_shared::store::transition;
use glimpse_test_support::{ledger::bugs::BUGS, seed};
use run::run;
use world::Tally;

#[cfg(test)]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Number of jobs in a run of another length.
const LENGTH: &str = "SIMULATION_LIVES";

/// Events that a long run must contain, so that it tests enough.
const EVENTS: [&str; 18] = [
    "completed",
    "failed",
    "cancelled",
    "killed",
    "frozen",
    "drained",
    "devices lost",
    "cancels",
    "asked to finish early",
    "finished early",
    "refused",
    "fenced writes",
    "repeated finishes",
    "repeated claims",
    "resumed",
    "tried again",
    "claimed ahead",
    "stopped before its begin",
];

#[test]
fn whatever_happens_every_promise_is_kept() {
    if let Some(seed) = variable("SIMULATION_SEED") {
        let (tally, _) =
            run(seed, transition::apply).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        return println!("{tally:?}");
    }
    let wanted = variable(LENGTH).unwrap_or(100_000);
    let (next, lived, begun) = (AtomicU64::new(seed(0, LENGTH)), AtomicU64::new(0), Instant::now());
    let result = Mutex::new((Tally::default(), Vec::new()));
    let live = || {
        while lived.load(Ordering::Relaxed) < wanted {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let lives = run(seed, transition::apply);
            let (tally, failed) = &mut *result.lock().unwrap();
            match lives {
                Ok((lives, _)) => {
                    tally.add(&lives);
                    lived.fetch_add(lives.of("lives"), Ordering::Relaxed);
                }
                Err(broken) => {
                    println!("SIMULATION_SEED={seed} fails: {broken}");
                    failed.push(seed);
                }
            }
            if failed.len() >= 5 {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(live);
        }
    });
    let (tally, failed) = result.into_inner().unwrap();
    println!("{tally:?} in {:?}", begun.elapsed());
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
    for event in EVENTS {
        assert!(tally.of(event) * 1000 > tally.of("lives"), "too few {event}: {tally:?}");
    }
}

#[test]
fn a_seed_lives_the_same_lives_again() {
    for seed in 0..20 {
        assert_eq!(run(seed, transition::apply), run(seed, transition::apply), "seed {seed}");
    }
}

/// Defects that the simulation cannot find. It has no repeated ids, no webhooks, no quotas and no failover that loses writes. A lost wake-up
/// only costs five seconds, and a hidden job only waits for the jobs before it. The memory store lists and checks due
/// jobs under one lock. The model check finds these defects.
const BEYOND: [&str; 10] = [
    "a fence without the worker",
    "a wake-up is not passed on",
    "reap forgets the cancel",
    "the first job hides the others",
    "one kind of workers is woken",
    "a wake-up goes with its worker",
    "the end of a job forgets its webhook",
    "two call one webhook",
    "the report of an old try counts",
    "a quota is not looked at",
];

#[test]
fn a_planted_defect_is_found_within_four_thousand_lives() {
    for (name, apply) in BUGS.into_iter().filter(|(name, _)| !BEYOND.contains(name)) {
        let found = (0..100).find_map(|seed| run(seed, apply).err().map(|broken| (seed, broken)));
        println!("{name}: {found:?}");
        assert!(found.is_some(), "{name} was not found");
    }
}
