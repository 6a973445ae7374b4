//! What only the home in Redis can get wrong: scripts, outages, connections.

// The props are the suite's; its stories are told by tests/conformance.rs.
#[cfg(test)]
#[allow(dead_code)]
#[path = "../suite/mod.rs"]
mod suite;

#[cfg(test)]
mod access;
#[cfg(test)]
mod both_implementations;
#[cfg(test)]
mod check;
#[cfg(test)]
mod config;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod far;
#[cfg(test)]
mod followers;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod props;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod roundtrips;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod strain;
