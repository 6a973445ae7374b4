//! Why a process cannot use a certificate.

use std::{io, path::PathBuf};

/// Why this process cannot speak TLS, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}; name files that this user may read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}: {error}; name a folder that this user may write to with --tls-dir", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file does not have what its flag says.
    #[error("{} has no {what} in the PEM format", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
    },
    /// The key is another certificate's.
    #[error(
        "the key in {} does not belong to the first certificate in {}; name the two files of one certificate, with \
         the server's own certificate first", key.display(), cert.display()
    )]
    Mismatch {
        /// The file of the certificates.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The library refuses the certificate or its key.
    #[error("the certificate in {} cannot be used with the key in {}: {error}", cert.display(), key.display())]
    Unusable {
        /// The file of the certificates.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What the library says.
        error: rustls::Error,
    },
    /// The folder has files of these names from somewhere else.
    #[error(
        "{} has certificates that Glimpse did not make; name an empty folder with --tls-dir, or use your own \
         certificate with --tls-cert and --tls-key", folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
    },
    /// The TLS library refuses its own defaults, which is a bug.
    #[error("cannot prepare TLS: {0}")]
    Library(rustls::Error),
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}
