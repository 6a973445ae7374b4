//! Helpers of tests.
//!
//! It starts servers for tests: Redis servers, pairs with sentinels and clusters, on free ports and in temporary
//! folders; a fake Hub; a server of files; a receiver of webhooks; a collector of traces; a proxy that disturbs connections; the workspace's [`programs`]. It generates invalid data
//! ([`fuzz`]). It checks the store's promises: a [`ledger`] checks every command, a [`history`] every log.
//!
//! A failure is a panic with the server's own message.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "runs only in tests")]

mod cluster;
mod collector;
pub mod fake;
pub mod files;
pub mod fuzz;
pub mod history;
mod hub;
pub mod jobs;
pub mod ledger;
pub mod metrics;
mod monitor;
pub mod programs;
mod proxy;
mod receiver;
pub mod recorded;
mod resp;
mod seed;
mod sentinel;
mod server;
pub mod shipped;
mod wait;

pub use cluster::RedisCluster;
pub use collector::{Collector, ReceivedSpan};
pub use fake::FakeRedis;
pub use hub::{COMMIT, HubRequest, HubServer};
pub use monitor::Monitor;
pub use proxy::{Proxy, Weather};
pub use receiver::{WebhookAnswer, WebhookCall, WebhookReceiver};
pub use resp::Reply;
pub use seed::seed;
pub use sentinel::{Sentinel, Sentinels};
pub use server::RedisServer;
pub use wait::{SOON, until};
