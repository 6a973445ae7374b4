//! The stateless HTTP side of Glimpse: requests in, events out.
//!
//! A request is checked once (`glimpse_shared::request`), becomes a job and goes into the store
//! (`admission`, `intake`, `check`, `fetch`, `submit`); what happens to the job comes back from the store as frames and leaves as
//! SSE or JSON (`inbox`, `sse`, `routes`). Nothing about a job lives here: any replica answers for any job.
//! Deliberately absent: candle and Redis. The API knows a model from its workers' records alone.

mod admission;
mod blocking;
mod body;
mod check;
mod config;
mod connection;
mod edge;
mod error;
mod fetch;
mod inbox;
mod intake;
mod limits;
mod picture;
mod routes;
mod server;
mod sse;
mod state;
mod submit;

pub use config::{Config, OnDisconnect};
pub use fetch::{FetchLimits, ImageHost};
pub use limits::raise_connection_limit;
pub use server::serve;
