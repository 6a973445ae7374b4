//! Which addresses this machine may call for a client: the client chooses the URL of a picture, a webhook or a LoRA, and
//! this machine may reach networks that the client cannot.

mod address;
mod policy;

pub use policy::{AddressPolicy, Forbidden, Lookup, TrustedHost};
