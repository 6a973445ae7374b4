//! The stateless HTTP side of Glimpse: requests in, events out.
//!
//! A request is checked once (`glimpse_shared::request`), becomes a job and goes into the store (`admission`, `intake`,
//! `check`, `fetch`, `submit`). The job's events come back from the store as frames and leave as SSE or JSON
//! (`client_buffer`, `sse`, `routes`). No state of a job is kept here: any API serves any job. Deliberately absent:
//! candle and Redis. The API knows a model only from its workers' records.

mod admission;
mod blocking;
mod body;
mod check;
mod client_buffer;
mod config;
mod connection;
mod edge;
mod error;
mod fetch;
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
