//! The HTTP API of Glimpse.
//!
//! A request is checked once (`glimpse_shared::request`), becomes a job and is submitted to the store (`admission`,
//! `intake`, `check`, `fetch`, `accept`, `submit`). The API receives the job's events from the store as frames (`reader`),
//! and sends them as SSE or JSON (`client_buffer`, `sse`, `waiting`, `routes`). It calls the webhooks of ended jobs
//! (`webhooks`). `traced` begins the spans of requests. A `wire` says how its clients write and read. The
//! API keeps no state of a job: any API serves any job. It does not use candle or Redis itself. It knows a model only
//! from the records of its workers.

mod accept;
mod admission;
mod agreement;
mod blocking;
mod body;
mod branch;
mod caller;
mod check;
mod client_buffer;
mod config;
mod connection;
mod edge;
mod encoding;
mod error;
mod expiry;
mod features;
mod fetch;
mod flags;
mod guard;
mod intake;
mod json;
mod keys;
mod limits;
mod listening;
mod openapi;
mod opening;
mod origin;
mod picture;
mod policy;
mod positions;
mod public_address;
mod reader;
mod routes;
mod server;
mod serving;
mod sse;
mod state;
mod submit;
mod tls;
mod together;
mod traced;
mod waiting;
mod webhooks;
mod wire;

pub use config::{Config, OnDisconnect};
pub use fetch::FetchLimits;
pub use flags::Flags;
pub use keys::{CorsOrigin, KeyFlags, KeyName, KeysError, NewKey, count_keys};
pub use limits::raise_connection_limit;
pub use listening::{Entrance, EntranceError, Listening};
pub use policy::{Blocklist, PolicyFlags};
pub use public_address::{ProxyNet, PublicUrl};
pub use server::serve;
pub use tls::{Tls, TlsError, TlsFlags};
pub use webhooks::{WebhookKey, WebhookLimits};
