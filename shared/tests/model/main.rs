//! A model check of the store's rules: every interleaving of the commands of workers, clients and reapers, for a small
//! fleet. Each world has a ledger that checks each command. That queued jobs can be claimed and that waiting workers
//! are woken is stated here, because only a complete search can check it. Planted bugs show that the check finds
//! errors.

// Only the suite's helpers are used here; tests/conformance.rs runs its tests.
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
