//! Tests of the store in Redis: scripts, outages, connections, clusters.

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
mod expiry;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod far;
#[cfg(test)]
mod followers;
#[cfg(test)]
mod helpers;
#[cfg(test)]
mod long_queues;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod previous;
#[cfg(test)]
mod reads;
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
#[cfg(test)]
#[path = "../suite/streams.rs"]
mod streams;
#[cfg(test)]
mod unreadable;
#[cfg(test)]
mod upgrade;
