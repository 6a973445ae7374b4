//! The rules of the store, explored to the end: every interleaving of what workers, clients and reapers may send, for
//! a small fleet. Each world holds a ledger that is told of each command; that waiting jobs are claimed and sleepers are
//! woken is stated here, because only who tries everything can tell. Planted bugs show that this finds something.

// The props are the suite's; its stories are told by tests/conformance.rs.
#[cfg(test)]
#[allow(dead_code)]
#[path = "../suite/mod.rs"]
mod suite;

#[cfg(test)]
mod explore;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod store;
#[cfg(test)]
mod wakes;
