//! A certificate with its key.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::error::TlsError;

/// A chain of certificates and the key of the first one. They belong together.
pub(super) struct Pair {
    /// What rustls needs of them.
    pub(super) certified: CertifiedKey,
}

impl Pair {
    /// Reads two files.
    ///
    /// # Errors
    /// When a file cannot be read, or they do not belong together.
    pub(super) fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let file =
            |path: &Path| fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error });
        Self::parse((cert, &file(cert)?), (key, &file(key)?))
    }

    /// Parses the contents of two files.
    ///
    /// # Errors
    /// When one is not what it should be, or they do not belong together.
    pub(super) fn parse(cert: (&Path, &[u8]), key: (&Path, &[u8])) -> Result<Self, TlsError> {
        let ((cert, certs), (key, keys)) = (cert, key);
        let not_pem = |path: &Path, what| TlsError::NotPem { path: path.to_owned(), what };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certs)
            .collect::<Result<_, _>>()
            .map_err(|_| not_pem(cert, "certificate"))?;
        if chain.is_empty() {
            return Err(not_pem(cert, "certificate"));
        }
        let private = PrivateKeyDer::from_pem_slice(keys)
            .map_err(|_| not_pem(key, "private key that is not encrypted"))?;
        let paths = || -> (PathBuf, PathBuf) { (cert.to_owned(), key.to_owned()) };
        let certified = CertifiedKey::from_der(chain, private, &ring::default_provider());
        certified.map(|certified| Self { certified }).map_err(|error| {
            let (cert, key) = paths();
            match error {
                rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { cert, key },
                error => TlsError::Unusable { cert, key, error },
            }
        })
    }
}
