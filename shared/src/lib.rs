//! What the API and the workers of Glimpse agree on: the words of a request, a job and its events, and the
//! store that carries them. Depends on nothing else of ours.

pub mod environment;
pub mod error;
pub mod event;
pub mod id;
pub mod jitter;
pub mod job;
pub mod needs;
pub mod reaper;
pub mod request;
pub mod retry;
pub mod shutdown;
pub mod store;
pub mod telemetry;
