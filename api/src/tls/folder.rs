//! The folder of a server's own certificate: `ca.pem` for its clients, `cert.pem` and `key.pem` for itself, and
//! `ca-key.pem`, with which a later start renews the certificate, so that clients need no new `ca.pem`.
//!
//! Each file is written whole. After a crash between two files they may not belong together; the next start sees this
//! and makes new ones.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
};

use super::{
    authority::{Authority, Signed},
    error::TlsError,
    names::Names,
    pair::Pair,
};

/// A certificate that ends within this time is renewed at the start of a process.
const RENEWED_BEFORE: Duration = Duration::from_secs(365 * 24 * 3600);

/// The certificate in `folder`. Makes what is missing, does not belong together, ends soon, or is not for `names`.
///
/// # Errors
/// When the folder cannot be used, or has other files of these names.
pub(super) fn open(folder: &Path, names: &Names) -> Result<Pair, TlsError> {
    let write = |error| TlsError::Write { path: folder.to_owned(), error };
    fs::create_dir_all(folder).map_err(write)?;
    // Another process may start with the same folder. The lock ends with this function.
    let lock = File::open(folder).map_err(write)?;
    lock.lock().map_err(write)?;
    let files = Files::of(folder);
    let [ca, ca_key, cert, key] = [&files.ca, &files.ca_key, &files.cert, &files.key].map(|path| read(path));
    let (ca, ca_key, cert, key) = (ca?, ca_key?, cert?, key?);
    if let (Some(ca), Some(cert), Some(key)) = (&ca, &cert, &key)
        && let Some(pair) = files.accepted(ca, cert, key, names)
    {
        return Ok(pair);
    }
    if ca_key.is_none() && (ca.is_some() || cert.is_some() || key.is_some()) {
        return Err(TlsError::Foreign { folder: folder.to_owned() });
    }
    if let (Some(ca), Some(authority)) = (&ca, ca_key.as_deref().and_then(Authority::of_key)) {
        let signed = authority.sign(names)?;
        if let Some(pair) = files.accepted(ca, &signed.cert, &signed.key, names) {
            files.write_leaf(&signed)?;
            tracing::info!(folder = %folder.display(), "renewed the certificate; ca.pem is the same");
            return Ok(pair);
        }
    }
    let authority = Authority::new()?;
    let own = authority.certificate(names)?;
    let signed = authority.sign(names)?;
    // Its key first: without it the other files would look like the operator's.
    private(&files.ca_key, &own.key)?;
    public(&files.ca, &own.cert)?;
    files.write_leaf(&signed)?;
    if ca.is_some() {
        tracing::warn!(
            ca = %files.ca.display(),
            "made a new authority, because this process has new names; clients must trust the new file"
        );
    } else {
        tracing::info!(ca = %files.ca.display(), "made a certificate; clients that trust this file can use https");
    }
    Pair::parse((&files.cert, signed.cert.as_bytes()), (&files.key, signed.key.as_bytes()))
}

struct Files {
    ca: PathBuf,
    ca_key: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(folder: &Path) -> Self {
        let [ca, ca_key, cert, key] =
            ["ca.pem", "ca-key.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
        Self { ca, ca_key, cert, key }
    }

    /// The certificate with its key, if clients that trust `ca` accept it under every name, now and for some time.
    fn accepted(&self, ca: &str, cert: &str, key: &str, names: &Names) -> Option<Pair> {
        let pair = Pair::parse((&self.cert, cert.as_bytes()), (&self.key, key.as_bytes())).ok()?;
        let (leaf, between) = pair.certified.cert.split_first()?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).ok()?).ok()?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let accepted = |at| {
            let mut names = names.iter();
            names.all(|name| verifier.verify_server_cert(leaf, between, name, &[], at).is_ok())
        };
        [now, now + RENEWED_BEFORE].into_iter().map(UnixTime::since_unix_epoch).all(accepted).then_some(pair)
    }

    fn write_leaf(&self, signed: &Signed) -> Result<(), TlsError> {
        private(&self.key, &signed.key)?;
        public(&self.cert, &signed.cert)
    }
}

/// The text of a file; `None` if there is no such file. A file that is not text is empty.
fn read(path: &Path) -> Result<Option<String>, TlsError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8(bytes).unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TlsError::Read { path: path.to_owned(), error }),
    }
}

/// Writes a file that only this user may read.
fn private(path: &Path, text: &str) -> Result<(), TlsError> {
    replace(path, text, 0o600)
}

fn public(path: &Path, text: &str) -> Result<(), TlsError> {
    replace(path, text, 0o644)
}

/// Replaces a file: it has the old text or the new one at any time, also after a power failure.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let replaced = || {
        let mut file =
            tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    };
    replaced().map_err(|error| TlsError::Write { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests;
