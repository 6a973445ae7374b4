//! Planted bugs in the transition: each one is found, with the right message.

use glimpse_test_support::ledger::bugs::{Apply, BUGS};

use crate::{
    explore::explore,
    lives::{Lives, SCOPES},
    wakes::{Wakes, fleets},
};

/// Every bug, and the beginning of its message.
const FOUND: [(&str, &str); 23] = [
    ("a fence without the status", "a write was accepted of one who is fenced off"),
    ("a fence without the attempt", "a write was accepted of one who is fenced off"),
    ("a fence without the worker", "a write was accepted of one who is fenced off"),
    ("a preview's number is not checked", "a preview again"),
    ("reap does not look again", "a job was taken from a worker that holds it"),
    ("full before duplicate", "the same submit again is a duplicate"),
    ("an end is not final", "an end that was written stays"),
    ("a wake-up is not passed on", "no worker sleeps on while a job waits that it can make"),
    ("reap forgets the cancel", "an event after the end"),
    ("a give-back is lost", "a job that was given back waits again"),
    ("a fault is taken for a drain", "a job that was given back waits again, or has had its last try"),
    ("a write of an old attempt is accepted", "a write was accepted of one who is fenced off"),
    ("what a job needs is not looked at", "a worker got a job that it is not capable of"),
    ("the first job hides the others", "no worker sleeps on while a job waits that it can make"),
    ("one kind of workers is woken", "no worker sleeps on while a job waits that it can make"),
    ("a wake-up goes with its worker", "no worker sleeps on while a job waits that it can make"),
    ("a claim that finds nothing wakes the next", "a claim that got nothing did something"),
    ("the end of a job forgets its webhook", "a webhook is called from the end of its job"),
    ("two call one webhook", "a webhook was called that nobody must call now"),
    ("the report of an old try counts", "a report of a try got a wrong answer"),
    ("a quota is not looked at", "a tenant got more places than it may have"),
    ("the next worker is not told to finish early", "a lease without the request to finish early"),
    ("a holder is not told to finish early", "a worker got a wrong answer"),
];

fn found(apply: Apply) -> Option<String> {
    let wakes = fleets().into_iter().find_map(|fleet| explore(Wakes::new(fleet, apply)).err());
    wakes.or_else(|| SCOPES.into_iter().find_map(|scope| explore(Lives::new(scope, apply)).err()))
}

#[test]
fn planted_bugs_are_found() {
    for (name, apply) in BUGS {
        let (_, expected) = FOUND.into_iter().find(|(bug, _)| *bug == name).expect("the message of the bug");
        let found = found(apply).unwrap_or_else(|| panic!("{name} is not found"));
        assert!(found.starts_with(expected), "{name} is found as: {found}");
    }
}
