//! fal's realtime connection: a WebSocket on which each input of the client is answered with its pictures.

mod connect;
mod input;
mod output;
mod session;

pub(super) use connect::connect;
