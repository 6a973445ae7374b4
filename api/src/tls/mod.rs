//! TLS: the certificate of this process, from the operator or of its own making.

mod acceptor;
mod authority;
mod error;
mod flags;
mod folder;
mod names;
mod pair;

pub use acceptor::Tls;
pub use error::TlsError;
pub use flags::TlsFlags;
