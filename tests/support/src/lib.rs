//! What tests run against, and what they hold against it.
//!
//! Against: a Redis server, a watched pair or a cluster of their own, on free ports and in a folder that goes with it;
//! a Hub of models; a proxy that disturbs; garbage; the [`programs`]. These speak RESP and HTTP themselves and use nothing
//! of ours. Held against it: the promises of the store, stated once, as a [`ledger`] of every command and a [`history`] of
//! every log.
//!
//! Failures are panics with the server's own words: a test that has no Redis has nothing to say.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "runs in tests alone")]

mod cluster;
pub mod fake;
pub mod fuzz;
pub mod history;
mod hub;
pub mod ledger;
mod monitor;
pub mod programs;
mod proxy;
mod resp;
mod seed;
mod sentinel;
mod server;
mod wait;

pub use cluster::RedisCluster;
pub use fake::FakeRedis;
pub use hub::{COMMIT, HubRequest, HubServer};
pub use monitor::Monitor;
pub use proxy::{Proxy, Weather};
pub use resp::Reply;
pub use seed::seed;
pub use sentinel::{Sentinel, Sentinels};
pub use server::RedisServer;
pub use wait::{SOON, until};
