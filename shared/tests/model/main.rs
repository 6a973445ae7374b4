//! The rules of the store, explored to the end: every interleaving of what workers, clients and reapers may send, for
//! a small fleet. The invariants are those of the property test; planted bugs show that they find something.

// The props are the suite's; its stories are told by tests/conformance.rs.
#[cfg(test)]
#[allow(dead_code)]
#[path = "../suite/mod.rs"]
mod suite;

#[cfg(test)]
mod bugs;
#[cfg(test)]
mod explore;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod wakes;
