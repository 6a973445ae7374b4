//! The flags that say which certificate to use.

use std::path::PathBuf;

use super::{acceptor::Tls, error::TlsError, folder, names::Names, pair::Pair};

/// The flags for https, on the same port as http.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TlsFlags {
    /// Serves https too, with a certificate that Glimpse creates in this folder if there is none. Clients must trust its
    /// `ca.pem`.
    #[arg(long, env = "GLIMPSE_TLS_DIR", value_name = "DIR", conflicts_with_all = ["tls_cert", "tls_key"])]
    pub tls_dir: Option<PathBuf>,

    /// Serves https too, with this certificate: a PEM file, the server's own certificate first.
    #[arg(long, env = "GLIMPSE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key of `--tls-cert`: a PEM file that is not encrypted.
    #[arg(long, env = "GLIMPSE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl TlsFlags {
    /// Opens the certificate; `None` without flags. `listen` is the address to listen on as `HOST:PORT`, `public` the
    /// host of the public address: a certificate that is made here is for both.
    ///
    /// # Errors
    /// When the files cannot be used or made.
    pub(crate) fn open(&self, listen: &str, public: Option<&str>) -> Result<Option<Tls>, TlsError> {
        let pair = match (&self.tls_dir, &self.tls_cert, &self.tls_key) {
            (Some(folder), ..) => folder::open(folder, &Names::of(listen, public))?,
            (None, Some(cert), Some(key)) => Pair::read(cert, key)?,
            _ => return Ok(None),
        };
        Tls::new(&pair).map(Some)
    }
}
