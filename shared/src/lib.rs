//! The shared part of Glimpse's API and workers: requests, jobs, events, and the store. It depends on no other crate of
//! this workspace.

pub mod environment;
pub mod error;
pub mod event;
pub mod id;
pub mod jitter;
pub mod job;
pub mod metrics;
pub mod needs;
pub mod outbound;
pub mod prompt;
pub mod reaper;
pub mod recipe;
pub mod request;
pub mod results;
pub mod retry;
pub mod shutdown;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod verdict;
pub mod webhook;
pub mod weight;
