//! The HTTP API of Glimpse.
//!
//! A request is checked once (`glimpse_shared::request`), becomes a job and is submitted to the store (`admission`,
//! `intake`, `check`, `fetch`, `submit`). The API receives the job's events from the store as frames, and sends them as
//! SSE or JSON (`client_buffer`, `sse`, `routes`). It keeps no state of a job: any API serves any job. It does not use
//! candle or Redis itself. It knows a model only from the records of its workers.

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
