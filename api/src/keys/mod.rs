//! Keys: who may call the API, what for, and how much.
//!
//! ```text
//! key.rs    a key: its name, its hash, its scopes and limits; a new one
//! file.rs   the keys file, parsed once into these types
//! ring.rs   the keys of this process, read again on SIGHUP
//! sent.rs   the key in a request
//! rate.rs   requests per minute
//! pass.rs   the short-lived tokens of fal's realtime clients
//! flags.rs  the flags
//! ```
//!
//! A key's name is the tenant of its jobs.

mod file;
mod flags;
mod key;
mod pass;
mod rate;
mod ring;
mod sent;

pub use file::{KeysError, count_keys};
pub use flags::{CorsOrigin, KeyFlags};
pub use key::{KeyName, NewKey};

pub(crate) use key::{Key, Scope};
pub(crate) use pass::Pass;
pub(crate) use rate::{Rate, Rates};
pub(crate) use ring::{KeyRing, Opened};
pub(crate) use sent::{sent_key, sent_token};
